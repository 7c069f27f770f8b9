"""Runs commands side by side, and says which goals are reached.

Absolute times say more about a machine than about a program, so every figure is a ratio
or a difference of two commands that took turns (A, B, A, B, …) in one run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LAUNCH: Final = Path(__file__).with_name("_launch.py")


@dataclass(frozen=True)
class Run:
    """One command, run to its end."""

    seconds: float
    peak_mib: float
    """Peak resident size of the largest process of its tree."""
    output: str
    errors: str


class CommandFailed(Exception):
    """A command that is to be measured ended badly: there is nothing to measure."""


def run(command: Sequence[str | Path], env: Mapping[str, str], cwd: Path | None = None) -> Run:
    """Run a command; its own clean-up belongs to it, ours does not.

    Raises:
        CommandFailed: with the end of what it wrote.
    """
    parts = [str(part) for part in command]
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result"
        done = subprocess.run(
            [sys.executable, "-I", "-S", LAUNCH, result, *parts],
            env=dict(env), cwd=cwd, capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds, peak_kib, status = result.read_text(encoding="utf-8").split()
    if int(status):
        said = f"{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
        raise CommandFailed(f"{' '.join(parts)}: status {status}\n{said}")
    return Run(float(seconds), int(peak_kib) / 1024, done.stdout, done.stderr)


def clean_environment(home: Path) -> dict[str, str]:
    """A home and caches of its own; nothing that steers conda, pip, uv or us."""
    steering = ("ENVFORGE_", "CONDA_", "MAMBA_", "RATTLER_", "XDG_", "PYTHON")
    env = {key: value for key, value in os.environ.items() if not key.startswith(steering)}
    home.mkdir(parents=True, exist_ok=True)
    return {**env, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}


Action = Callable[[], Run]


def alternate(
    first: Action, second: Action, rounds: int, *, warm_up: bool = True
) -> tuple[list[Run], list[Run]]:
    """Take turns, after one round that is not counted; who begins changes every round."""
    if warm_up:
        first(), second()  # caches of the disk, byte code of modules
    firsts: list[Run] = []
    seconds: list[Run] = []
    for number in range(rounds):
        pair = [(first, firsts), (second, seconds)]
        for action, results in pair if number % 2 == 0 else reversed(pair):
            results.append(action())
    return firsts, seconds


@dataclass(frozen=True)
class Row:
    """One comparison: a value for each round, and the most it may be."""

    what: str
    values: tuple[float, ...]
    goal: float | None
    """None: reported, without a goal."""
    unit: str = "x"
    at_least: bool = False
    """The goal is a floor, not a ceiling."""
    detail: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """Missed only if three rounds of four are beyond the goal, the rest being noise."""
        if self.goal is None:
            return "-"
        sign = -1 if self.at_least else 1
        beyond = sum(sign * value > sign * self.goal for value in self.values)
        if sign * self.median <= sign * self.goal:
            return "reached"
        return "missed" if beyond * 4 >= len(self.values) * 3 else "in the noise"


def ratio(what: str, a: Sequence[Run], b: Sequence[Run], goal: float | None) -> Row:
    """How many times as long as B does A take, round by round."""
    values = tuple(one.seconds / other.seconds for one, other in zip(a, b, strict=True))
    return Row(what, values, goal, detail=_medians(a, b))


def difference(what: str, a: Sequence[Run], b: Sequence[Run], goal: float | None) -> Row:
    """How many seconds longer than B does A take, round by round."""
    values = tuple(one.seconds - other.seconds for one, other in zip(a, b, strict=True))
    return Row(what, values, goal, unit="s", detail=_medians(a, b))


def more_memory(what: str, a: Sequence[Run], b: Sequence[Run], goal: float | None) -> Row:
    """How many MB (10⁶ bytes) higher than B's is A's peak, round by round."""
    mb = 1024**2 / 1e6
    values = tuple((one.peak_mib - other.peak_mib) * mb for one, other in zip(a, b, strict=True))
    medians = [statistics.median(item.peak_mib for item in runs) for runs in (a, b)]
    return Row(what, values, goal, unit="MB", detail=f"{medians[0]:.0f} and {medians[1]:.0f} MiB")


def _medians(a: Sequence[Run], b: Sequence[Run]) -> str:
    one, other = (statistics.median(item.seconds for item in runs) for runs in (a, b))
    return f"{one:.3f} and {other:.3f} s"


@dataclass
class Report:
    """Rows, claims that are true or not, and what could not be measured here."""

    title: str
    rows: list[Row] = field(default_factory=list)
    claims: list[tuple[str, bool, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def claim(self, what: str, holds: object, detail: str = "") -> None:
        """Something that is no measurement: it holds, or the run fails."""
        self.claims.append((what, bool(holds), detail))

    def skip(self, what: str, why: str) -> None:
        """Say visibly that something was not measured."""
        self.skipped.append((what, why))

    def finish(self) -> int:
        """Print the table; 1 if a goal is missed by more than noise or a claim does not hold."""
        print(f"\n{self.title}\n")
        print(f"{'':54} {'median':>9} {'min - max':>17} {'goal':>9}  verdict")
        for row in self.rows:
            print(_line(row))
        for what, holds, detail in self.claims:
            print(
                f"{what:54} {'':9} {'':17} {'':9}  {'holds' if holds else 'DOES NOT HOLD'} {detail}"
            )
        for what, why in self.skipped:
            print(f"{what:54} skipped: {why}")
        sys.stdout.flush()
        failed = any(row.verdict == "missed" for row in self.rows)
        return int(failed or not all(holds for _, holds, _ in self.claims))


def _line(row: Row) -> str:
    spread = f"{min(row.values):.2f} - {max(row.values):.2f}"
    bound = ">=" if row.at_least else "<="
    goal = "" if row.goal is None else f"{bound} {row.goal:g} {row.unit}"
    value = f"{row.median:.2f} {row.unit}"
    return f"{row.what:54} {value:>9} {spread:>17} {goal:>9}  {row.verdict}   ({row.detail})"
