"""`*.dist-info` folders: what Python's own metadata says is installed.

Formats: PEP 376 and 427 (RECORD), 566 and 643 (METADATA), 610 (direct_url.json).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from email.parser import HeaderParser

from envforge.errors import InvalidFile
from envforge.formats.text import json_text


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFile:
    """One line of RECORD."""

    path: str
    """Relative to site-packages; may lead out of it (`../../../bin/hf`)."""
    size: int | None


def read_metadata(text: str, path: str) -> tuple[str, str]:
    """Normalised name, and version, of a distribution.

    Raises:
        InvalidFile: without a name or a version.
    """
    from packaging.utils import canonicalize_name

    headers = HeaderParser().parsestr(text.partition("\n\n")[0], headersonly=True)
    name, version = headers.get("Name"), headers.get("Version")
    if not name or not version:
        raise InvalidFile(path=path, mistakes=("it has no Name, or no Version",))
    return str(canonicalize_name(name.strip())), version.strip()


def read_files(record: str) -> tuple[WheelFile, ...] | None:
    """The files of a wheel; compiled ones are left out, they come and go.

    None: the text is no list of files, as a disk that lost power can leave it.
    """
    try:
        rows = [row for row in csv.reader(record.splitlines()) if row]
    except csv.Error:
        return None
    return tuple(
        WheelFile(path=row[0], size=int(row[2]) if len(row) > 2 and row[2].isdigit() else None)
        for row in rows
        if not row[0].endswith(".pyc")
    )


def read_url(text: str | None) -> str:
    """Where a distribution was installed from; empty where an index served it."""
    try:
        document = json_text.parse(text or "{}")
    except ValueError:
        return ""
    return str(document.get("url") or "") if isinstance(document, dict) else ""
