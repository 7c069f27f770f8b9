"""What times come to, and whether two of them differ. Pure: times in, verdicts out.

Calls of one process are alike in what differs between processes (where memory lies, which cores),
so the unit that is resampled is the round: a fresh process of each side. Within a round both sides
take turns, block by block, and what is compared is the quotient of neighbours: a machine that slows
down for a minute slows both.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from itertools import chain
from typing import Final

from envforge.model.bench import Comparison, Series, Spread, Verdict

Rounds = Sequence[Sequence[Sequence[float]]]

RESAMPLES: Final = 2000
_SURE: Final = 0.99
_MANY: Final = 8
"""Values that all have one sign by chance in fewer than one of a hundred runs."""
_NARROW: Final = 0.4
"""Of the threshold: the half width of an interval at which measuring may end.

Two things of the same speed then are called so in more than 95 of 100 runs, and a difference as
large as the threshold is found in more than 90 (`test_bench_error_rates.py`).
"""


def spread_of(rounds: Rounds) -> Spread:
    """Sum up the times of one cell.

    Args:
        rounds: seconds by round, block and call; at least one call in each round.
    """
    calls = sorted(chain.from_iterable(chain.from_iterable(rounds)))
    levels = [_level(blocks) for blocks in rounds]
    low, high = interval(levels)
    return Spread(
        median=math.exp(typical(levels)),
        low=math.exp(low),
        high=math.exp(high),
        p95=percentile(calls, 0.95),
        p99=percentile(calls, 0.99),
        std=statistics.stdev(calls) if len(calls) > 1 else 0.0,
        calls=len(calls),
        rounds=len(levels),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of sorted numbers, between neighbours in proportion (numpy's default)."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def compare(first: Series, second: Series, *, threshold: float, paired: bool) -> Comparison:
    """One cell of two sides.

    Args:
        first: whose time is on top of the ratio.
        second: whose time is below.
        threshold: the smallest difference that matters.
        paired: both were measured in turns, so that places in `rounds` belong together.
    """
    if paired:
        samples: tuple[Sequence[float], ...] = (quotients_of(first.rounds, second.rounds),)
        middle = typical(samples[0])
    else:
        samples = (levels_of(first.rounds), levels_of(second.rounds))
        middle = typical(samples[0]) - typical(samples[1])
    low, high = interval(*samples)
    return Comparison(
        cell=first.cell,
        ratio=math.exp(middle),
        low=math.exp(low),
        high=math.exp(high),
        verdict=verdict(samples, threshold),
        paired=paired,
    )


def quotients_of(first: Rounds, second: Rounds) -> list[float]:
    """By round, the median over blocks of the logarithm of how much longer the first side took.

    A median: another program that runs during one block says nothing of either side.
    """
    return [
        statistics.median(
            math.log(statistics.median(mine) / statistics.median(other))
            for mine, other in zip(blocks, others, strict=True)
        )
        for blocks, others in zip(first, second, strict=True)
    ]


def verdict(samples: Sequence[Sequence[float]], threshold: float) -> Verdict:
    """Judge a difference of logarithms: one sample of them, or two that were drawn apart.

    `slower` and `faster`: the difference is at least half of what matters, and its 99 % interval
    leaves out 0 (a run asks about ten cells at once). `same`: the 95 % interval leaves out every
    difference that matters. Else the noise is too large to say, which is said, and is no sameness.
    """
    matters = math.log1p(threshold)
    middle = typical(samples[0]) - (typical(samples[1]) if len(samples) > 1 else 0.0)
    if abs(middle) >= matters / 2 and not _may_be_chance(samples, middle):
        low, high = interval(*samples, confidence=_SURE)
        if low > 0:
            return "slower"
        if high < 0:
            return "faster"
    low, high = interval(*samples)
    return "same" if -matters < low and high < matters else "noisy"


def _may_be_chance(samples: Sequence[Sequence[float]], middle: float) -> bool:
    """Whether few values differ so by chance: resampling never goes beyond what was drawn.

    All of five are above 0 once in 32 times, whatever they are; Student's t knows how far apart.
    """
    fewest = min(map(len, samples))
    if fewest >= _MANY:
        return False
    if fewest < 2:
        return True
    error = math.sqrt(sum(statistics.variance(sample) / len(sample) for sample in samples))
    return abs(middle) <= _student(fewest - 1, (1 + _SURE) / 2) * error


def is_narrow(values: Sequence[float], threshold: float, *, alone: bool = False) -> bool:
    """Whether measuring may end: by how wide the interval is, and not by what it says.

    An end that depended on the verdict would find differences where there are none.

    Args:
        values: by round, differences of two sides, or levels of one.
        threshold: the smallest difference that matters.
        alone: levels of one side: a baseline brings as much noise again, so half is allowed.
    """
    low, high = interval(values)
    allowed = _NARROW / 2 if alone else _NARROW
    return (high - low) / 2 <= allowed * math.log1p(threshold)


def levels_of(rounds: Rounds) -> list[float]:
    """By round, the logarithm of the median."""
    return [_level(blocks) for blocks in rounds]


def _level(blocks: Sequence[Sequence[float]]) -> float:
    return math.log(statistics.median(chain.from_iterable(blocks)))


# --- the bootstrap --------------------------------------------------------------------------


def typical(values: Sequence[float]) -> float:
    """The mean without the outer fifth on each side: a round that something disturbed is one."""
    cut = len(values) // 5
    return statistics.fmean(sorted(values)[cut : len(values) - cut])


def interval(
    first: Sequence[float], second: Sequence[float] | None = None, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Where `typical` lies, or its difference of two samples; no bounds for a single value.

    Percentiles of the bootstrap, taken further out for few values ("expanded percentile"):
    T. Hesterberg, "What Teachers Should Know about the Bootstrap", arXiv 1411.5279, section 5.3.
    """
    fewest = min(len(first), len(first if second is None else second))
    if fewest < 2:
        return -math.inf, math.inf
    source = random.Random(20240229)  # noqa: S311 - the same times give the same interval

    def draw(values: Sequence[float]) -> float:
        return typical(source.choices(values, k=len(values)))

    found = sorted(draw(first) - (draw(second) if second else 0.0) for _ in range(RESAMPLES))
    outside = expanded_tail(fewest, confidence)
    return percentile(found, outside), percentile(found, 1 - outside)


def expanded_tail(count: int, confidence: float) -> float:
    """The share of resamples to leave out on each side, of so many values."""
    further = math.sqrt(count / (count - 1)) * _student(count - 1, (1 + confidence) / 2)
    return statistics.NormalDist().cdf(-further)


def _student(freedom: int, share: float) -> float:
    """Student's t, in Cornish and Fisher's expansion: within 3 % of the tables from 4 on.

    Fewer leave nothing out in any case: such a tail is smaller than one of the resamples.
    """
    z = statistics.NormalDist().inv_cdf(share)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
