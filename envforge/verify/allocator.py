"""The options of torch's CUDA allocator: which release knows which, and what they may be set to.

Syntax after `c10/core/AllocatorConfig.h` (ConfigTokenizer): `key:value,key:[a:b,c:d]`, blanks do
not count. torch stops at the first thing it does not know, when CUDA is first used.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from envforge.matrix import reading

_DATA: Final = Path(__file__).with_name("data") / "allocator_options.tsv"
NEWEST: Final = (2, 13)
"""The newest torch whose options the table holds."""
RENAMED: Final = (2, 10)
"""The first that reads PYTORCH_ALLOC_CONF for CUDA; 2.9 only says that it would."""
FIRST: Final = (1, 9)
"""The first that reads PYTORCH_CUDA_ALLOC_CONF."""
_TOKEN: Final = re.compile(r"[,:\[\]]|[^,:\[\]]+")
_NUMBER: Final = re.compile(r"\d+(\.\d*)?|\.\d+")
_SMALLEST_BLOCK: Final = 20

Release = tuple[int, int]


class Malformed(ValueError):
    """Text that is no list of options; says what was expected where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One row of the table."""

    name: str
    first: Release
    last: Release | None
    value: str
    source: str


@lru_cache(maxsize=1)
def options() -> dict[str, Option]:
    """The table, by name."""
    found = (
        Option(
            name=row["option"],
            first=_release(row["first"]),
            last=None if row["last"] == "-" else _release(row["last"]),
            value=row["value"],
            source=row["source"],
        )
        for row in reading.rows(_DATA)
    )
    return {item.name: item for item in found}


def _release(text: str) -> Release:
    major, minor = text.split(".")
    return int(major), int(minor)


def read(text: str) -> tuple[tuple[str, str], ...]:
    """Names and values, in order.

    Raises:
        Malformed: it is not of the form `key:value,key:value`.
    """
    tokens = _TOKEN.findall("".join(text.split()))
    found: list[tuple[str, str]] = []
    while tokens:
        name = tokens.pop(0)
        if not tokens or tokens.pop(0) != ":":
            instead = f"; `{name.replace('=', ':')}` would be" if "=" in name else ""
            raise Malformed(f"`{name}` is not followed by `:` and a value{instead}")
        value = _value(name, tokens)
        found.append((name, value))
        if tokens and tokens.pop(0) != ",":
            raise Malformed(f"`{name}:{value}` is not followed by `,`")
    return tuple(found)


def _value(name: str, tokens: list[str]) -> str:
    if not tokens or tokens[0] in {",", ":", "]"}:
        raise Malformed(f"`{name}` has no value")
    if tokens[0] != "[":
        return tokens.pop(0)
    if "]" not in tokens:
        raise Malformed(f"the list of `{name}` has no end")
    end = tokens.index("]") + 1
    value = "".join(tokens[:end])
    del tokens[:end]
    return value


def problems(found: tuple[tuple[str, str], ...], torch: Release) -> Iterator[tuple[str, str]]:
    """Names that this torch refuses, or whose values it does, with the reason."""
    names = {name for name, _ in found}
    for name, value in found:
        option = options().get(name)
        if option is None:
            if torch <= NEWEST:
                yield name, f"is no option that torch knows{_nearest(name)}"
        elif torch < option.first:
            yield name, f"came with torch {_spelled(option.first)}"
        elif option.last is not None and torch > option.last:
            yield name, f"was last known to torch {_spelled(option.last)}"
        elif reason := _refused(option, value, small="large_segment_size_mb" in names):
            yield name, reason


def _spelled(release: Release) -> str:
    return f"{release[0]}.{release[1]}"


def _nearest(name: str) -> str:
    if "=" in name:
        return ": names and values are joined by `:`"
    close = difflib.get_close_matches(name, options(), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _refused(option: Option, value: str, *, small: bool) -> str | None:
    """Why torch refuses a value; None: it takes it.

    Args:
        option: what is set.
        value: what to.
        small: whether the size of large segments is set too, which moves the least block size.
    """
    if option.value == "boolean":
        return None if value in {"True", "False"} else f"is `{value}`, not `True` or `False`"
    if option.value == "backend":
        known = {"native", "cudaMallocAsync", "hipMallocAsync"}
        return None if value in known else f"is `{value}`, not `native` or `cudaMallocAsync`"
    if option.value == "divisions" and value.startswith("["):
        return None
    number = _NUMBER.match(value)
    if number is None:
        return f"is `{value}`, which is no number"
    return _out_of_range(option.value, float(number[0]), small=small)


def _out_of_range(kind: str, number: float, *, small: bool) -> str | None:
    if kind == "inner fraction" and not 0 < number < 1:
        return f"is {number:g}, and must lie between 0 and 1"
    if kind == "fraction" and number > 1:
        return f"is {number:g}, and must be at most 1"
    if kind == "block" and number < _SMALLEST_BLOCK and not small:
        return f"is {number:g}, and must be at least {_SMALLEST_BLOCK}"
    if kind in {"threads", "divisions"} and not _is_power_of_two(number):
        return f"is {number:g}, which is no power of two"
    if kind == "threads" and number > 128:
        return f"is {number:g}, and must be at most 128"
    return None


def _is_power_of_two(number: float) -> bool:
    whole = int(number)
    return whole == number and whole > 0 and whole & (whole - 1) == 0
