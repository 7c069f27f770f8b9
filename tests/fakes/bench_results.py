"""Results of `bench` that nobody measured."""

from __future__ import annotations

import random
from typing import Any

from fakes.bench_interpreter import FACTS

from envforge.around.bench.bench_statistics import spread_of
from envforge.model.bench import BenchOptions, BenchResult, Case, Cell, Mode, Series, Side


def series(
    case: Case = "encoder", mode: Mode = "eager", *, seconds: float = 0.1, **more: Any
) -> Series:
    """Five rounds of four blocks of three calls, of about that many seconds."""
    source = random.Random(f"{case} {mode} {seconds}")
    rounds = tuple(
        tuple(tuple(seconds * (1 + 0.01 * source.random()) for _ in range(3)) for _ in range(4))
        for _ in range(5)
    )
    given: dict[str, Any] = {
        "waits": "barrier",
        "rates": (1 / seconds,),
        "unit": "token",
        "dtype": "float32",
        "first": 3 * seconds,
        "result": 1.0,
    }
    spread = spread_of(rounds)
    return Series(
        cell=Cell(case=case, mode=mode), rounds=rounds, spread=spread, **{**given, **more}
    )


def side(name: str = "p-torch27-cpu", *measured: Series, **more: Any) -> Side:
    """Of these series; of none: of an encoder."""
    return Side(
        name=name,
        facts={**FACTS, **more.pop("facts", {})},
        lock="ab" * 32,
        series=measured or (series(),),
        starts=({"interpreter": 0.03, "import": 1.2, "load": 0.4, "call": 0.1},) * 5,
        **more,
    )


def result(first: Side | None = None, **more: Any) -> BenchResult:
    """One that has not been judged."""
    return BenchResult(options=BenchOptions(), side=first or side(), **more)
