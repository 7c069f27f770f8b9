"""Results of `bench` as rows with bars."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from envforge.around.page.overview import Badge, BenchRow, Tone
from envforge.model.bench import MEANING, BenchResult, Comparison, Series, Side, Spread, Verdict

_TONES: Final[dict[Verdict, Tone]] = {
    "same": "good",
    "faster": "good",
    "slower": "warn",
    "noisy": "quiet",
}
_UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_NONE: Final = Badge(text="", tone="quiet")


def rows(
    results: Iterable[BenchResult], digests: Mapping[str, str | None] = MappingProxyType({})
) -> tuple[BenchRow, ...]:
    """A row for each side and cell; bars of one case share one scale.

    Args:
        results: of any number of runs.
        digests: of the locks as they are now, by environment.
    """
    found = [row for result in results for row in _of_result(result, digests)]
    return tuple(_scaled(found))


def _of_result(
    result: BenchResult, digests: Mapping[str, str | None]
) -> Iterator[tuple[Series, BenchRow]]:
    beside = result.against or result.baseline
    verdicts = {item.cell: item for item in result.comparisons}
    for series in result.side.series:
        compared = verdicts.get(series.cell)
        badge = _badge(compared, beside) if compared and beside else _NONE
        yield series, _row(result.side, series, badge, digests)
    if result.against is not None:
        for series in result.against.series:
            yield series, _row(result.against, series, _NONE, digests)


def _row(side: Side, series: Series, verdict: Badge, digests: Mapping[str, str | None]) -> BenchRow:
    now = digests.get(side.name)
    spread = series.spread
    if spread is None:
        verdict = Badge(
            text="failed" if series.failed else "not measured",
            tone="bad" if series.failed else "quiet",
            why=series.why_not,
        )
    return BenchRow(
        name=side.name,
        case=series.cell.label,
        metric=MEANING[series.cell.case],
        is_outdated=bool(side.lock and now and side.lock != now),
        value=time(spread.median) if spread else "",
        order=spread.median if spread else 0.0,
        spread=_interval(spread) if spread else "",
        verdict=verdict,
    )


def _badge(found: Comparison, beside: Side) -> Badge:
    share = abs(found.ratio - 1)
    text = found.verdict if found.verdict in {"same", "noisy"} else f"{share:.0%} {found.verdict}"
    paired = "" if found.paired else ", not measured in turns"
    return Badge(text=text, tone=_TONES[found.verdict], why=f"than {beside.name}{paired}")


def time(seconds: float) -> str:
    """`1.23 ms`: three digits that count."""
    factor, unit = next((item for item in _UNITS if seconds >= item[0]), _UNITS[-1])
    return f"{seconds / factor:.3g} {unit}"


def _interval(spread: Spread) -> str:
    if not _has_interval(spread):
        return "one round: no interval"
    return f"{time(spread.low)} to {time(spread.high)}, p95 {time(spread.p95)}"


def _scaled(found: list[tuple[Series, BenchRow]]) -> Iterator[BenchRow]:
    """With the bar's ends, in percent of the longest of the same case."""
    longest: dict[str, float] = {}
    for series, _ in found:
        if series.spread:
            case = series.cell.case
            longest[case] = max(longest.get(case, 0.0), *_ends(series.spread))
    for series, row in found:
        if series.spread is None:
            yield row
            continue
        share = 100 / longest[series.cell.case]
        low, high = _ends(series.spread)
        middle = series.spread.median * share
        yield replace(row, low=low * share, middle=middle, high=high * share)


def _ends(spread: Spread) -> tuple[float, float]:
    """The interval; where there is none, the middle."""
    if not _has_interval(spread):
        return spread.median, spread.median
    return max(0.0, spread.low), max(spread.high, spread.median)


def _has_interval(spread: Spread) -> bool:
    return math.isfinite(spread.low) and math.isfinite(spread.high)
