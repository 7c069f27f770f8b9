"""What the bench program answers, read strictly: a time that nothing was waited for is no time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

from envforge.model.bench import STAGES, Waits

Fact = str | int | float | bool | None
_SCHEMA: Final = "envforge.bench-program/1"


class Garbled(Exception):
    """An answer that makes no sense; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The interpreter is up."""

    stages: Mapping[str, float]
    """Seconds; see `model.bench.STAGES`."""
    facts: Mapping[str, Fact]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A case is built and warm."""

    first: float
    """Seconds of the first call, compilation included."""
    typical: float
    """Seconds of a call, roughly: to choose how many to time."""
    result: float
    unit: str
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some calls were timed."""

    seconds: tuple[float, ...]
    waits: Waits
    rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """It cannot be timed, and that is no failure."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It ended in an error."""

    reason: str


def failure_of(answer: Mapping[str, Any]) -> Failed | None:
    """What went wrong, in one line; None: nothing."""
    error = answer.get("error")
    if error is None:
        return None
    if not isinstance(error, dict):
        raise Garbled("its error is none")
    lines = str(error.get("message", "")).strip().splitlines() or [""]
    return Failed(reason=f"{error.get('type', 'error')}: {lines[0][:300]}".rstrip(": "))


def started(answer: Mapping[str, Any]) -> Started:
    """Read the answer to `start`.

    Raises:
        Garbled: it is none.
    """
    if answer.get("schema") != _SCHEMA:
        raise Garbled(f"its schema is {answer.get('schema')!r}, and not {_SCHEMA!r}")
    stages, facts = answer.get("stages"), answer.get("facts")
    if not isinstance(stages, dict) or not isinstance(facts, dict):
        raise Garbled("it tells no stages or no facts")
    return Started(
        stages={name: _seconds(stages[name]) for name in STAGES if name in stages},
        facts={str(name): _fact(value) for name, value in facts.items()},
    )


def prepared(answer: Mapping[str, Any]) -> Prepared | Declined:
    """Read the answer to `prepare`.

    Raises:
        Garbled: it is none.
    """
    if "skipped" in answer:
        return Declined(reason=str(answer["skipped"])[:300])
    return Prepared(
        first=_seconds(answer.get("first")),
        typical=_seconds(answer.get("typical")),
        result=_number(answer.get("result")),
        unit=str(answer.get("unit", "")),
        dtype=str(answer.get("dtype", "")),
    )


def block(answer: Mapping[str, Any], calls: int) -> Block:
    """Read the answer to `block`, of so many calls.

    Raises:
        Garbled: it is none, or nothing was waited for.
    """
    waits = answer.get("waits")
    if waits not in get_args(Waits):
        raise Garbled("it does not say how the device was waited for")
    seconds = answer.get("seconds")
    if not isinstance(seconds, list) or len(seconds) != calls:
        raise Garbled(f"it does not tell the times of {calls} calls")
    rate = answer.get("rate")
    return Block(
        seconds=tuple(map(_seconds, seconds)),
        waits=cast("Waits", waits),
        rate=None if rate is None else _seconds(rate),
    )


def same_results(results: Sequence[float]) -> bool:
    """Whether these are the same but for rounding, of one model in two modes or two torches.

    2 %: bfloat16 has eight bits, and means of thousands of numbers are compared.
    """
    return max(results) - min(results) <= 0.02 * max(map(abs, results), default=0.0)


def _seconds(value: object) -> float:
    number = _number(value)
    if number <= 0:
        raise Garbled(f"{number:g} is no time")
    return number


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise Garbled(f"{value!r} is no number")
    return float(value)


def _fact(value: object) -> Fact:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value[:300] if isinstance(value, str) else value
    raise Garbled(f"{value!r} is no fact")
