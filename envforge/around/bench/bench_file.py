"""A result of `bench` as a JSON document, and back; a baseline is such a file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final, cast, get_args

from envforge.around.bench.bench_statistics import spread_of
from envforge.errors import InvalidFile
from envforge.model.bench import (
    CASES,
    MODES,
    BenchOptions,
    BenchResult,
    Cell,
    Series,
    Side,
    Size,
    Waits,
)

SCHEMA: Final = "envforge.bench/1"
_DIGITS: Final = 6
"""Of a time: a clock of nanoseconds and calls of microseconds give no more."""


def document(result: BenchResult, *, times: bool) -> dict[str, Any]:
    """A result, as JSON takes it.

    Args:
        result: what was measured.
        times: with the time of every call, which a baseline needs.
    """
    return {
        "options": asdict(result.options),
        "threshold": result.threshold,
        "passed": result.passed,
        "side": _side(result.side, times=times),
        "against": _side(result.against, times=times) if result.against else None,
        "baseline": _side(result.baseline, times=False) if result.baseline else None,
        "comparisons": [
            {**asdict(item.cell), **_rounded({**asdict(item), "cell": None})}
            for item in result.comparisons
        ],
        "notes": list(result.notes),
    }


def write(result: BenchResult) -> str:
    """The text of a file that `read` reads; the same result gives the same bytes."""
    whole = {"schema": SCHEMA, **document(result, times=True)}
    return json.dumps(whole, ensure_ascii=False, sort_keys=True) + "\n"


def _side(side: Side, *, times: bool) -> dict[str, Any]:
    return {
        "name": side.name,
        "lock": side.lock or None,
        "facts": dict(side.facts),
        "starts": [_rounded(item) for item in side.starts],
        "cells": [_series(item, times=times) for item in side.series],
    }


def _series(series: Series, *, times: bool) -> dict[str, Any]:
    found: dict[str, Any] = {**asdict(series.cell), "why_not": series.why_not or None}
    if not series.rounds:
        return {**found, "failed": series.failed}
    found |= {
        "waits": series.waits,
        "unit": series.unit,
        "dtype": series.dtype,
        "spread": _rounded(asdict(series.spread)) if series.spread else None,
        "rates": [_short(item) for item in series.rates],
        "first": None if series.first is None else _short(series.first),
        "result": series.result,
    }
    if times:
        found["times"] = [[[_short(x) for x in row] for row in rows] for rows in series.rounds]
    return found


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _short(value) if isinstance(value, float) else value
        for key, value in values.items()
        if value is not None
    }


def _short(number: float) -> float | None:
    """To six digits; what has no bound is null."""
    return float(f"{number:.{_DIGITS}g}") if abs(number) < float("inf") else None


# --- reading --------------------------------------------------------------------------------

_MISTAKES: Final = (
    *(KeyError, TypeError, ValueError, AttributeError),
    *(OverflowError, RecursionError),  # numbers and brackets without end
)
_LONGEST: Final = 1e9
"""Seconds of a call: with more, and with less than its inverse, sums and ratios have no bound."""


def read(text: str, path: str) -> BenchResult:
    """What `bench --save` wrote.

    Raises:
        InvalidFile: it is something else.
    """
    try:
        whole = json.loads(text)
        if not isinstance(whole, dict) or whole.get("schema") != SCHEMA:
            raise _not_ours(path)
        given = whole["options"]
        options = BenchOptions(
            size=_one_of(given["size"], get_args(Size)),
            batch=int(given["batch"]),
            threads=int(given["threads"]),
            device=str(given["device"]),
        )
        side = _read_side(whole["side"])
        against = _read_side(whole["against"]) if whole.get("against") else None
        _refuse_unpaired(side, against)
        threshold, notes = _within(whole["threshold"], 1.0), tuple(map(str, whole["notes"]))
    except _MISTAKES as error:
        raise _not_ours(path) from error
    return BenchResult(
        options=options, side=side, against=against, threshold=threshold, notes=notes
    )


def _not_ours(path: str) -> InvalidFile:
    return InvalidFile(
        path=path,
        mistakes=("it is no result of `envforge bench --save`",),
        remedy="`envforge bench ENV --save FILE` writes one",
    )


def _refuse_unpaired(side: Side, against: Side | None) -> None:
    """See that what was measured in turns has as many turns on both sides."""
    for mine in side.series if against else ():
        its = against.of(mine.cell) if against else None
        if mine.rounds and its and its.rounds and _turns(mine) != _turns(its):
            raise ValueError(mine.cell)


def _turns(series: Series) -> list[int]:
    return [len(blocks) for blocks in series.rounds]


def _one_of(value: Any, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise ValueError(value)
    return value


def _read_side(given: Mapping[str, Any]) -> Side:
    return Side(
        name=str(given["name"]),
        lock=str(given.get("lock") or ""),
        facts={str(key): _fact(value) for key, value in given["facts"].items()},
        starts=tuple({str(k): _finite(v) for k, v in item.items()} for item in given["starts"]),
        series=tuple(map(_read_series, given["cells"])),
    )


def _fact(value: Any) -> str | int | float | bool | None:
    if isinstance(value, float):
        return _finite(value)
    if value is None or isinstance(value, (str, int, bool)):
        return value
    raise ValueError(value)


def _read_series(given: Mapping[str, Any]) -> Series:
    cell = Cell(case=_one_of(given["case"], CASES), mode=_one_of(given["mode"], MODES))
    if given.get("why_not"):
        return Series(cell=cell, why_not=str(given["why_not"]), failed=bool(given.get("failed")))
    rounds = tuple(
        tuple(tuple(map(_seconds, block)) for block in blocks) for blocks in given["times"]
    )
    if not rounds or not all(blocks and all(blocks) for blocks in rounds):
        raise ValueError(cell)
    series = Series(
        cell=cell,
        rounds=rounds,
        waits=cast("Waits", _one_of(given["waits"], get_args(Waits))),
        rates=tuple(map(_finite, given["rates"])),
        unit=str(given["unit"]),
        dtype=str(given["dtype"]),
        first=None if given.get("first") is None else _finite(given["first"]),
        result=None if given.get("result") is None else _finite(given["result"]),
    )
    return replace(series, spread=spread_of(rounds))


def _seconds(value: Any) -> float:
    number = _within(value, _LONGEST)
    if number < 1 / _LONGEST:
        raise ValueError(value)
    return number


def _within(value: Any, most: float) -> float:
    number = float(value)
    if not 0 < number <= most:
        raise ValueError(value)
    return number


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number
