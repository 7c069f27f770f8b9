"""`bench`: what was asked for, from the names to the verdicts."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, get_args

from envforge.adapters.files import read_text, unusable, write_text
from envforge.around.bench import bench_file
from envforge.around.bench.bench_answers import Fact
from envforge.around.bench.bench_judging import judged, refuse_other_machine
from envforge.errors import FileNotUsable, InvalidFile, InvalidValue
from envforge.forge.benching import sides
from envforge.forge.benching.measuring import Effort, Measuring
from envforge.forge.workplace import Workplace
from envforge.model.bench import (
    CASES,
    COMPILABLE,
    MODES,
    BenchOptions,
    BenchResult,
    Cell,
    Size,
)
from envforge.model.wording import listed

_LAST: Final = "bench"
"""Folder in the cache: the last result of each environment, for `report`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to time, and how."""

    env: str | None = None
    prefix: Path | None = None
    python: str | None = None
    against: str | None = None
    """Another environment."""
    against_python: str | None = None
    cases: Sequence[str] = ()
    """Empty: all."""
    modes: Sequence[str] = ()
    options: BenchOptions = field(default_factory=BenchOptions)
    effort: Effort = field(default_factory=Effort)
    baseline: Path | None = None
    load_from: Path | None = None
    """On which disk the weights of a cold start lie; None: that of the cache."""


def bench(workplace: Workplace, wanted: Wanted) -> BenchResult:
    """Measure, compare, and remember the result.

    Raises:
        InvalidValue: what was asked for makes no sense, or the baseline is of another machine.
        InvalidFile: the baseline is none.
        ToolFailed, ToolMissing: an interpreter cannot be timed at all.
    """
    cells = cells_of(wanted.cases, wanted.modes)
    refuse_nonsense(wanted)
    baseline = read_result(wanted.baseline) if wanted.baseline else None
    timed = tuple(_sides(workplace, wanted))

    def approve(facts: Mapping[str, Fact]) -> None:
        if baseline is not None:
            refuse_other_machine(wanted.options, facts, baseline, str(wanted.baseline))

    with tempfile.TemporaryDirectory(prefix="bench-", dir=_place(workplace, wanted)) as scratch:
        measuring = Measuring(
            timed,
            cells,
            options=wanted.options,
            effort=wanted.effort,
            reporter=workplace.reporter,
            scratch=Path(scratch),
            approve=approve,
        )
        measured = measuring.run()
    result = judged(
        BenchResult(
            options=wanted.options,
            side=measured[0],
            against=measured[1] if len(measured) > 1 else None,
            baseline=baseline.side if baseline else None,
            threshold=wanted.effort.threshold,
            notes=tuple(measuring.notes),
        )
    )
    if timed[0].lock:
        _remember(workplace, result)
    return result


def _sides(workplace: Workplace, wanted: Wanted) -> Iterator[sides.Timed]:
    yield sides.find(workplace, wanted.env, wanted.prefix, wanted.python)
    if wanted.against is not None or wanted.against_python is not None:
        yield sides.find(workplace, wanted.against, None, wanted.against_python)


def cells_of(cases: Sequence[str], modes: Sequence[str]) -> tuple[Cell, ...]:
    """The cells of these cases and modes, in the order of the table; empty: all.

    Raises:
        InvalidValue: one of them is unknown, or nothing is left.
    """
    _refuse_unknown("case", cases, CASES)
    _refuse_unknown("mode", modes, MODES)
    cells = tuple(
        Cell(case=case, mode=mode)
        for case in CASES
        for mode in MODES
        if (not cases or case in cases)
        and (not modes or mode in modes)
        and (mode == "eager" or case in COMPILABLE)
    )
    if not cells:
        raise InvalidValue(
            what="mode",
            value=listed(modes, 9),
            reason=f"says nothing of {listed(cases, 9)}",
            remedy="leave it out",
        )
    return cells


def _refuse_unknown(what: str, given: Iterable[str], known: Sequence[str]) -> None:
    for value in given:
        if value not in known:
            raise InvalidValue(
                what=what, value=value, reason="is unknown", remedy=f"one of {listed(known, 9)}"
            )


def refuse_nonsense(wanted: Wanted) -> None:
    """See that numbers can be meant, before anything is started.

    Raises:
        InvalidValue: the first that cannot.
    """
    effort, options = wanted.effort, wanted.options
    if wanted.against is not None and wanted.against_python is not None:
        raise InvalidValue(
            what="option",
            value="--against-python",
            reason="names a second side, and `--against` does, too",
            remedy="leave one out",
        )
    for what, value, good in (
        ("threshold", effort.threshold, 0 < effort.threshold <= 1),
        ("number of rounds", effort.most, effort.most >= effort.least >= 2),
        ("time limit", effort.seconds, 0 < effort.seconds < math.inf),
        ("timeout", effort.timeout, 0 < effort.timeout < 1e6),
        ("batch", options.batch, 0 < options.batch <= 1024),
        ("number of threads", options.threads, 0 <= options.threads <= 1024),
        ("size", options.size, options.size in get_args(Size)),
    ):
        if not good:
            raise InvalidValue(what=what, value=f"{value}", reason="makes no sense")


def _place(workplace: Workplace, wanted: Wanted) -> Path:
    """Where weights and compile caches of this run lie."""
    folder = wanted.load_from or workplace.settings.cache / _LAST
    try:
        if wanted.load_from is None:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder):
            return folder
    except OSError as error:
        raise unusable(folder, error) from error


# --- results on disk ------------------------------------------------------------------------


def read_result(path: Path) -> BenchResult:
    """What `write_result` wrote.

    Raises:
        InvalidFile, FileNotUsable: it is something else, or cannot be read.
    """
    return bench_file.read(read_text(path), str(path))


def write_result(result: BenchResult, path: Path) -> None:
    """For `--baseline`.

    Raises:
        FileNotUsable: it cannot be written.
    """
    write_text(path, bench_file.write(result))


def last_result(workplace: Workplace, name: str) -> BenchResult | None:
    """What the last run for an environment measured; None: there was none that can be read."""
    try:
        return read_result(_last(workplace, name))
    except (FileNotUsable, InvalidFile):
        return None


def _remember(workplace: Workplace, result: BenchResult) -> None:
    try:
        write_result(result, _last(workplace, result.side.name))
    except FileNotUsable as error:
        workplace.reporter.note(f"the result is not kept for `envforge report`: {error}")


def _last(workplace: Workplace, name: str) -> Path:
    return workplace.settings.cache / _LAST / f"{name}.json"
