"""From what was measured to what it says: comparisons, and what a reader should know of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from envforge.around.bench.bench_answers import same_results
from envforge.around.bench.bench_statistics import compare
from envforge.errors import InvalidValue
from envforge.model.bench import BenchOptions, BenchResult, Comparison, Side
from envforge.model.wording import listed

MACHINE: Final = ("device", "processor", "cpus", "threads", "gpu")
"""Facts that have to be equal for times of two days to mean anything beside each other."""


def judged(result: BenchResult) -> BenchResult:
    """The same, with its comparisons and notes."""
    return replace(result, comparisons=tuple(_comparisons(result)), notes=tuple(_notes(result)))


def _comparisons(result: BenchResult) -> Iterator[Comparison]:
    for other, paired in ((result.against, True), (result.baseline, False)):
        for mine in result.side.series if other else ():
            its = other.of(mine.cell) if other else None
            if its is not None and mine.rounds and its.rounds:
                yield compare(mine, its, threshold=result.threshold, paired=paired)


def refuse_other_machine(
    options: BenchOptions, facts: Mapping[str, object], baseline: BenchResult, path: str
) -> None:
    """See that a baseline was measured in the same way, on such a machine.

    Raises:
        InvalidValue: it was not; all that differs is named.
    """
    then = baseline.side.facts
    differ = [
        f"{name} {then.get(name)} then, {facts.get(name)} now"
        for name in MACHINE
        if then.get(name) != facts.get(name)
    ]
    for name in ("size", "batch"):
        before, now = getattr(baseline.options, name), getattr(options, name)
        differ += [f"{name} {before} then, {now} now"] if before != now else []
    if differ:
        raise InvalidValue(
            what="baseline",
            value=path,
            reason=f"was not measured like this: {listed(differ, 9)}",
            remedy="measure a baseline here with `--save`, or compare in turns with `--against`",
        )


def _notes(result: BenchResult) -> Iterator[str]:
    yield from result.notes
    sides = [side for side in (result.side, result.against) if side]
    load, cpus = (result.side.facts.get(name) for name in ("load", "cpus"))
    if isinstance(load, (int, float)) and isinstance(cpus, int) and load > cpus / 2:
        yield f"other programs were running at the beginning: load {load:g} on {cpus} cores"
    for side in sides:
        yield from _different_results(side)
    for item in result.side.series:
        its = result.against.of(item.cell) if result.against else None
        given = [one.result for one in (item, its) if one and one.result is not None]
        if given and not same_results(given):
            yield f"{item.cell.label}: the two sides compute different things"
    if result.baseline is not None:
        yield from _since(result.baseline, result.side)


def _different_results(side: Side) -> Iterator[str]:
    for case in dict.fromkeys(item.cell.case for item in side.series):
        given = [
            item.result
            for item in side.series
            if item.cell.case == case and item.result is not None
        ]
        if given and not same_results(given):
            yield f"{side.name}: {case} computes something else when compiled"


def _since(baseline: Side, side: Side) -> Iterator[str]:
    """A baseline was measured on another day: what else is different now."""
    moved = [
        f"{name} {baseline.facts.get(name)} became {side.facts.get(name)}"
        for name in sorted({*baseline.facts, *side.facts} - {*MACHINE, "load"})
        if baseline.facts.get(name) != side.facts.get(name)
    ]
    if moved:
        yield f"since the baseline {listed(moved, 9)}"
    yield "a baseline was not measured in turns: a busier machine looks like a slower environment"
