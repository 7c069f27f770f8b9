"""TOML files that people and tools write, read with a place for each mistake."""

from __future__ import annotations

import re
import sys
from typing import Any

from envforge.errors import InvalidFile

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def parse(text: str, path: str) -> dict[str, Any]:
    """The document.

    Raises:
        InvalidFile: for a syntax error, with line and column.
    """
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidFile(path=path, mistakes=(_said(str(error), text),)) from error
    except RecursionError as error:
        raise InvalidFile(path=path, mistakes=("it is nested too deeply",)) from error
    return document


def _said(message: str, text: str) -> str:
    """`Invalid value (at line 3, column 5)` in our order."""
    found = re.fullmatch(r"(?P<what>.*?) \(at (?P<where>.*)\)", message, re.DOTALL)
    if not found:
        return f"not TOML: {message}"
    where = found["where"]
    if where == "end of document":
        where = f"line {text.count(chr(10)) + 1}"
    return f"{where}: {found['what'][:1].lower()}{found['what'][1:]}"


def line_of(text: str, key: str, *, after: str = "") -> int:
    """The line where a key of a table is given; 0: it was not found.

    Args:
        text: the file.
        key: the name before `=`, or of the table.
        after: a table's heading, from which on is searched.
    """
    start = text.find(after) if after else 0
    quoted = re.escape(key)
    found = re.compile(
        rf"^\s*(?:[\"']?{quoted}[\"']?\s*(?:\.\w+\s*)?=|\[+[^\]]*\b{quoted}\b)", re.MULTILINE
    ).search(text, max(start, 0))
    return (
        text.count("\n", 0, found.start() + len(found[0]) - len(found[0].lstrip())) + 1
        if found
        else 0
    )
