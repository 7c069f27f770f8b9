"""How messages count things."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`, `1,024 copies`."""
    return f"{number:,} {noun if number == 1 else _plural(noun)}"


def listed(names: Sequence[str], most: int, *, quote: str = "") -> str:
    """`a, b and 3 more`: as many names as one sentence takes, with `quote` around each."""
    shown = ", ".join(f"{quote}{name}{quote}" for name in names[:most])
    more = len(names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def size(number: int) -> str:
    """Bytes for people: `1.5 GB`."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} B"


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
