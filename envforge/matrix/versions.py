"""Comparing the version numbers of our own tables: plain releases such as `2.0.1`.

Not for versions of the outside world: those have epochs and suffixes, and belong to
`packaging` or to the solver. Loading `packaging` would cost more than the whole preflight.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

_COMPARE: Final[dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
    ">": operator.gt,
    "": operator.eq,
}
_CLAUSE = re.compile(r"(>=|<=|<|>|)(\d+(?:\.\d+)*)")


@lru_cache(maxsize=1024)
def key(version: str) -> tuple[int, ...]:
    """`2.10.1` as numbers, to sort by. Raises ValueError for anything but numbers and dots."""
    return tuple(int(part) for part in version.split("."))


def minor(version: str) -> str:
    """`2.10.1` is of the minor `2.10`."""
    return ".".join(version.split(".")[:2])


def matches(version: str, condition: str) -> bool:
    """Whether a version meets `>=2.3,<2.4.1`; an empty condition is met by all.

    Without an operator, equality is meant. Raises ValueError for other syntax.
    """
    if not condition:
        return True
    return all(_meets(key(version), clause) for clause in condition.split(","))


def _meets(version: tuple[int, ...], clause: str) -> bool:
    found = _CLAUSE.fullmatch(clause.strip())
    if not found:
        raise ValueError(f"not a condition on a version: {clause!r}")
    compare, wanted = _COMPARE[found[1]], key(found[2])
    width = max(len(version), len(wanted))
    return compare(_padded(version, width), _padded(wanted, width))


def _padded(version: tuple[int, ...], width: int) -> tuple[int, ...]:
    return version + (0,) * (width - len(version))


def spell(versions: Sequence[str], *, conjunction: str = "and") -> str:
    """`11.7`, `11.7 and 11.8`, or `10.2, 11.3 and 11.6`: for sentences."""
    if len(versions) < 2:
        return "".join(versions)
    return f"{', '.join(versions[:-1])} {conjunction} {versions[-1]}"
