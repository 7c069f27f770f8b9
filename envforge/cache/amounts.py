"""Ages and amounts of bytes, as people type them."""

from __future__ import annotations

import re
from typing import Final

from envforge.errors import InvalidValue

_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_WORDS: Final = {"second": "s", "minute": "min", "hour": "h", "day": "d", "week": "w", "year": "y"}
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_LONGEST: Final = 100 * 366 * 86400


def parse_age(text: str, what: str = "age") -> float:
    """Seconds in `30d`, `30 days`, `12h`, `2w`, `90min`, `1y` or `0`.

    Raises:
        InvalidValue: no number with one of these units. `6m` is none: months would be minutes.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", text.strip().lower())
    number, word = (float(found[1]), found[2]) if found else (0.0, "?")
    unit = _WORDS.get(word.removesuffix("s"), word)
    if unit not in _SECONDS and not (number == 0 and word == ""):
        raise InvalidValue(
            what=what, value=text, reason=_no_age(unit), remedy=_ages_like(found, unit)
        )
    seconds = number * _SECONDS.get(unit, 0)
    if seconds > _LONGEST:
        raise InvalidValue(what=what, value=text, reason="is longer than a hundred years")
    return seconds


def _no_age(unit: str) -> str:
    if unit in {"m", "mo", "mon", "month", "months"}:
        return "may be minutes or months" if unit == "m" else "is in months, which differ in length"
    return "is no number with a unit"


def _ages_like(found: re.Match[str] | None, unit: str) -> str:
    if found and unit == "":
        return f"`{found[1]}d` for days, `{found[1]}h` for hours"
    if found and unit.startswith("mo"):
        return f"`{float(found[1]) * 30:g}d`"
    if found and unit == "m":
        return f"`{found[1]}min`, or `{float(found[1]) * 30:g}d`"
    return "for example `30d`, `2w`, `12h` or `0`"


def parse_bytes(text: str, what: str = "amount") -> int:
    """Bytes in `200G`, `1.5 TB`, `500MB` (powers of 1000, as every size shown) or `10GiB`.

    Raises:
        InvalidValue: no number with one of these units; a bare number is none but 0.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgtp]?)(i?)(b?)", text.strip().lower())
    if found and not (found[2] or found[4]) and float(found[1]):
        raise InvalidValue(
            what=what,
            value=text,
            reason="has no unit",
            remedy=f"`{found[1]}G` for gigabytes, `{found[1]}B` for bytes",
        )
    if found is None or (found[3] and not found[2]):
        raise InvalidValue(
            what=what,
            value=text,
            reason="is no number of bytes",
            remedy="for example `200G`, `1.5T` or `10GiB`",
        )
    return int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2]])
