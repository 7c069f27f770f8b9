"""How often a verdict is wrong: on noise that is made, and on noise that was recorded.

Two things of one speed are called `same`, and a slowdown of 10 % is found; where the noise is too
large for that, the verdict is `noisy`, and hardly ever a difference that is not there.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from envforge.around.bench import bench_statistics as stats

Blocks = list[list[float]]
Round = tuple[Blocks, Blocks]
RUNS = 100
LEAST, MOST, BLOCKS, CALLS = 5, 20, 4, 4
RECORDED = Path(__file__).parents[3] / "data" / "bench" / "recorded.json"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer resamples: the intervals are a little rougher, so the rates are no better."""
    monkeypatch.setattr(stats, "RESAMPLES", 150)


def simulated(kind: str, source: random.Random) -> Round:
    """One round of two sides of one speed; a call takes about 10 ms."""
    apart = {"processes": 0.03, "storm": 0.15, "heavy": 0.02}.get(kind, 0.01)
    offsets = source.gauss(0, apart), source.gauss(0, apart)
    level = source.gauss(0, 0.3) if kind == "drift" else 0.0
    sides: tuple[Blocks, Blocks] = [], []
    for _ in range(BLOCKS):
        level += source.gauss(0, 0.03) if kind == "drift" else 0.0
        for side, offset in zip(sides, offsets, strict=True):
            burst = source.expovariate(2) if kind == "bursts" and source.random() < 0.1 else 0.0
            side.append([_call(kind, source, offset + level + burst) for _ in range(CALLS)])
    return sides


def _call(kind: str, source: random.Random, level: float) -> float:
    tail = 0.05 * (source.paretovariate(1.5) - 1) if kind == "heavy" else 0.0
    return 0.01 * math.exp(level + abs(source.gauss(0, 0.02)) + tail)


def verdict(rounds: Callable[[random.Random], Round], seed: str, factor: float) -> str:
    """As `bench` does it: round after round until the interval is narrow."""
    source, quotients = random.Random(seed), list[float]()
    while len(quotients) < MOST:
        first, second = rounds(source)
        slowed = [[factor * call for call in block] for block in first]
        quotients += stats.quotients_of([slowed], [second])
        if len(quotients) >= LEAST and stats.is_narrow(quotients, 0.1):
            break
    return stats.verdict((quotients,), 0.1)


def verdicts(
    rounds: Callable[[random.Random], Round], factor: float, runs: int = RUNS
) -> Counter[str]:
    return Counter(verdict(rounds, f"{factor} {number}", factor) for number in range(runs))


@pytest.mark.parametrize("kind", ["calm", "processes", "bursts", "drift", "heavy"])
def test_sameness_and_a_slowdown_are_found_in_noise(kind: str) -> None:
    """Processes that differ, programs that interfere, drifting clocks, heavy tails."""

    def rounds(source: random.Random) -> Round:
        return simulated(kind, source)

    assert verdicts(rounds, 1.0)["same"] >= 0.95 * RUNS
    assert verdicts(rounds, 1.1)["slower"] >= 0.9 * RUNS


@pytest.mark.parametrize("kind", ["calm", "processes", "bursts", "heavy"])
def test_so_they_are_beside_a_baseline(kind: str) -> None:
    """Measured on another day, not in turns: each side alone, until it is narrow."""

    def levels(seed: str, factor: float) -> list[float]:
        source, found = random.Random(seed), list[float]()
        while len(found) < MOST:
            blocks = simulated(kind, source)[0]
            found += stats.levels_of([[[factor * call for call in block] for block in blocks]])
            if len(found) >= LEAST and stats.is_narrow(found, 0.1, alone=True):
                break
        return found

    def judged(factor: float) -> Counter[str]:
        return Counter(
            stats.verdict(
                (levels(f"now {number} {factor}", factor), levels(f"then {number}", 1)), 0.1
            )
            for number in range(RUNS)
        )

    assert judged(1.0)["same"] >= 0.95 * RUNS
    assert judged(1.1)["slower"] >= 0.9 * RUNS


def test_a_storm_is_called_a_storm() -> None:
    """Processes that differ by 15 % hide a slowdown of 10 %; no other is invented."""

    def rounds(source: random.Random) -> Round:
        return simulated("storm", source)

    found = verdicts(rounds, 1.0, 40)
    assert found["noisy"] >= 0.85 * 40
    assert found["slower"] + found["faster"] <= 0.05 * 40
    assert verdicts(rounds, 1.1, 20)["faster"] == 0


def test_few_rounds_of_a_storm_prove_nothing() -> None:
    """A time limit may end it after five, and resampling alone would then be sure too often."""
    found = Counter[str]()
    for number in range(200):
        source = random.Random(number)
        rounds = [simulated("storm", source) for _ in range(LEAST)]
        quotients = [stats.quotients_of([first], [second])[0] for first, second in rounds]
        found[stats.verdict((quotients,), 0.1)] += 1

    assert found["slower"] + found["faster"] <= 0.02 * 200


def recorded() -> dict[str, list[Round]]:
    """Rounds of one torch beside itself, by case: seconds of blocks of calls (see the file)."""
    document = json.loads(RECORDED.read_text(encoding="utf-8"))
    return {
        case: list(zip(sides[0], sides[1], strict=True))
        for case, sides in document["cases"].items()
    }


@pytest.mark.parametrize("case", sorted(recorded()))
def test_on_recorded_noise(case: str) -> None:
    """Blocks are drawn from a round that was measured, either side as the first."""
    known = recorded()[case]

    def rounds(source: random.Random) -> Round:
        pairs = source.choices(list(zip(*source.choice(known), strict=True)), k=BLOCKS)
        first, second = ([pair[side] for pair in pairs] for side in (0, 1))
        return (first, second) if source.random() < 0.5 else (second, first)

    assert verdicts(rounds, 1.0)["same"] >= 0.95 * RUNS
    assert verdicts(rounds, 1.1)["slower"] >= 0.9 * RUNS
