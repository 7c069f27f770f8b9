"""A date on the command line: `--exclude-newer`."""

from __future__ import annotations

import datetime as dt
import re

from envforge.errors import InvalidValue


def parse(text: str) -> str:
    """A date, or a moment, as `2024-03-01T23:59:59Z`: the same on every machine.

    A date means the whole of that day, in UTC.

    Raises:
        InvalidValue: it is neither.
    """
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            at = dt.datetime.combine(
                dt.date.fromisoformat(text), dt.time(23, 59, 59), dt.timezone.utc
            )
        else:
            at = dt.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError as error:
        raise _no_moment(text, "is no date") from error
    if at.tzinfo is None:
        raise _no_moment(text, "names no time zone, and would mean another moment elsewhere")
    return at.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _no_moment(text: str, reason: str) -> InvalidValue:
    return InvalidValue(
        what="date",
        value=text,
        reason=reason,
        remedy="for example `2024-03-01` or `2024-03-01T12:00:00Z`",
    )
