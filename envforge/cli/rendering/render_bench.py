"""What `bench` measured, as text and as JSON."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

import click

from envforge.around.bench import bench_file
from envforge.cli.rendering import shown
from envforge.cli.rendering.plain_text import echo
from envforge.formats.text.printable import one_line
from envforge.model.bench import STAGES, BenchResult, Comparison, Series, Side, Spread, Verdict

_COLOURS: Final[Mapping[Verdict, str]] = {
    "same": "green",
    "faster": "green",
    "slower": "red",
    "noisy": "yellow",
}
_WIDTH: Final = 79
_LABEL: Final = 18
_TIMES: Final = "x/"
_WIDE: Final = f"{_TIMES} 3: the median may be three times as long, or a third"


def show(result: BenchResult, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        click.echo(shown.as_json("bench", bench_file.document(result, times=False)))
        return
    for line in lines(result):
        echo(line)


def lines(result: BenchResult) -> Iterator[str]:
    """A table a side, then what the comparison says, then what should be known."""
    yield from _side(result.side)
    if result.against is not None:
        yield ""
        yield from _side(result.against)
    for other in (result.against, result.baseline):
        compared = [item for item in result.comparisons if item.paired == (other is result.against)]
        if other is not None and compared:
            yield ""
            beside = "baseline " if other is result.baseline else ""
            yield from _wrapped(f"{result.side.name} beside {beside}{other.name}:")
            yield from map(_compared, compared)
    every = [item for side in (result.side, result.against) if side for item in side.series]
    is_wide = any(_TIMES in _around(item.spread) for item in every if item.spread)
    notes = (*result.notes, *([_WIDE] if is_wide else ()))
    if notes:
        yield ""
    for note in notes:
        yield from _wrapped(f"note: {note}")


def _side(side: Side) -> Iterator[str]:
    yield click.style(one_line(side.name), bold=True)
    yield from _wrapped(_facts(side), "  ")
    measured = [item for item in side.series if item.rounds]
    if measured:
        yield (
            f"  {'':{_LABEL}} {'median':>8} {'95 %':>9} {'p95':>8} {'p99':>8} {'std':>7}"
            f" {'throughput':>12}"
        )
        yield from map(_row, measured)
    yield from _starts(side)
    for item in side.series:
        if not item.rounds:
            yield from _untimed(item)


def _untimed(series: Series) -> list[str]:
    """Why there is no time; the word is coloured last, as what is told may hold anything."""
    what = "failed" if series.failed else "not timed"
    first, *more = _wrapped(f"{series.cell.label}: {what}: {series.why_not}", "  ")
    return [first.replace(": failed:", f": {click.style('failed', fg='red')}:", 1), *more]


def _facts(side: Side) -> str:
    known = {name: value for name, value in side.facts.items() if value not in {None, ""}}
    words = [
        f"{name} {known[name]}" for name in ("torch", "cuda", "python", "driver") if name in known
    ]
    where = known.get("gpu") or known.get("processor")
    words += [f"{where}"] if where else []
    threads, cores = known.get("threads"), known.get("cpus")
    words += [f"{threads} thread{'s' * (threads != 1)} of {cores} core{'s' * (cores != 1)}"]
    words += [
        f"{name} {known[name]}" for name in ("cudnn", "tf32", "OMP_NUM_THREADS") if name in known
    ]
    words += [f"lock {side.lock[:12]}"] if side.lock else []
    waits = {item.waits for item in side.series if item.waits}
    words += [f"waits by {', '.join(sorted(waits))}"] if waits else []
    return ", ".join(words)


def _row(series: Series) -> str:
    spread = series.spread
    if spread is None:  # every measured series has one
        return f"  {series.cell.label}"
    return (
        f"  {series.cell.label:{_LABEL}} {seconds(spread.median):>8} {_around(spread):>9}"
        f" {seconds(spread.p95):>8} {seconds(spread.p99):>8} {seconds(spread.std):>7}"
        f" {one_line(_rate(series)):>12}"
    )


def _around(spread: Spread) -> str:
    """How far the interval of the median reaches from it."""
    if spread.rounds < 2:
        return ""
    share = max(spread.high / spread.median, spread.median / spread.low) - 1
    return f"+- {share * 100:.1f} %" if share < 1 else f"{_TIMES} {share + 1:.1f}"


def _rate(series: Series) -> str:
    if not series.rates:
        return ""
    middle = sorted(series.rates)[len(series.rates) // 2]
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if middle >= factor:
            return f"{middle / factor:.3g} {letter}{series.unit}/s"
    return f"{middle:.3g} {series.unit}/s"


def _starts(side: Side) -> Iterator[str]:
    if not side.starts:
        return
    words = []
    for stage in STAGES:
        found = sorted(item[stage] for item in side.starts if stage in item)
        if found:
            words.append(f"{stage} {seconds(found[len(found) // 2])}")
    yield from _wrapped(f"cold start: {', '.join(words)}", "  ")
    firsts = [item for item in side.series if item.cell.mode == "compiled" and item.first]
    if firsts:
        told = ", ".join(f"{item.cell.case} {seconds(item.first or 0.0)}" for item in firsts)
        yield from _wrapped(f"first compiled call, caches empty: {told}", "  ")


def _compared(item: Comparison) -> str:
    label = click.style(f"{item.verdict:6}", fg=_COLOURS[item.verdict], bold=True)
    bounds = ""
    if math.isfinite(item.low) and math.isfinite(item.high):
        bounds = f"  (95 %: {_change(item.low)} to {_change(item.high)})"
    return f"  {item.cell.label:{_LABEL}} {label} {_change(item.ratio):>8} of the time{bounds}"


def _change(ratio: float) -> str:
    """`+10.1 %`; how many times where that is much."""
    return f"x {_three(ratio)}" if ratio >= 3 else f"{(ratio - 1) * 100:+.1f} %"


def seconds(number: float) -> str:
    """Seconds for people: `85.1 ms`."""
    if not math.isfinite(number):
        return "?"
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if number >= factor * 0.9995:
            return f"{_three(number / factor)} {unit}"
    return f"{_three(number * 1e6)} us"


def _three(number: float) -> str:
    """Three digits that count, and no exponent."""
    return f"{number:.0f}" if number >= 99.95 else f"{number:.3g}"


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        one_line(text),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
    )
