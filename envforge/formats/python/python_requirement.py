"""What a Python distribution requires (PEP 508), as a lock keeps it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from packaging.utils import canonicalize_name

_REQUIREMENT: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*\(?(?P<range>[^;)]*?)\)?\s*"
    r"(?:;\s*(?P<marker>.*))?"
)


def canonical(name: str) -> str:
    """A name as indexes spell it (PEP 503)."""
    return str(canonicalize_name(name))


def depends(requires: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`name range` of each requirement: those that always hold, and those with a marker.

    What an extra asks for is left out: whoever asks for the extra is not said.
    """
    always: dict[str, None] = {}
    sometimes: dict[str, None] = {}
    for text in requires:
        spec, marker = _split(text)
        if spec and "extra" not in marker:
            (sometimes if marker else always)[spec] = None
    return tuple(sorted(always)), tuple(sorted(sometimes))


@lru_cache(maxsize=16384)  # the packages of one lock name each other again and again
def _split(text: str) -> tuple[str, str]:
    found = _REQUIREMENT.fullmatch(text.strip())
    if not found:
        return "", ""
    asked = "" if found["range"].startswith("@") else re.sub(r"\s+", "", found["range"])
    return f"{canonical(found['name'])} {asked}".strip(), found["marker"] or ""
