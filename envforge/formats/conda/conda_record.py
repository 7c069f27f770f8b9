"""What is wanted of a conda-meta record without parsing it.

A prefix of 300 packages holds some tens of MB of records, nearly all of it lists of files; a
search for a few bytes costs about what reading them costs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from envforge.formats.text import json_text

_DIST_INFO: Final = re.compile(rb'site-packages/([^"/]+\.dist-info)/METADATA"')
_LIBRARY_ENTRY: Final = re.compile(
    rb'"_path":\s*"(?P<path>[^"]*\.so[0-9.]*)"(?P<rest>[^{}]*?)"size_in_bytes":\s*(?P<size>\d+)'
)


def dist_infos(data: bytes) -> frozenset[str]:
    """The dist-info folders that a record lists: what Python calls the package's distributions.

    Only those that lie in site-packages itself: deeper ones are copies that a package carries for
    its own use (`setuptools/_vendor/packaging-24.2.dist-info`), and no distribution of its own.
    """
    return frozenset(name.decode("utf-8", "replace") for name in _DIST_INFO.findall(data))


def library_sizes(data: bytes) -> Iterator[tuple[str, int]]:
    """Path and size of each shared object that a record lists; links are left out."""
    for entry in _LIBRARY_ENTRY.finditer(data):
        if b'"softlink"' not in entry["rest"]:
            yield entry["path"].decode("utf-8", "replace"), int(entry["size"])


# --- the short fields, apart from the long lists --------------------------------------------

_FILES: Final = b'\n  "files": [\n'
_PATHS: Final = b'\n  "paths_data": {\n'


@dataclass(frozen=True, slots=True)
class Outline:
    """A record without its two long lists, and where these stand in it."""

    fields: dict[str, Any]
    """Every other field: name, version, url, depends …"""
    data: bytes
    names: tuple[int, int] = (0, 0)
    """Where the list of names stands, a seventh of the record."""
    entries: tuple[int, int] = (0, 0)
    """Where the list of paths stands, nearly all of it."""

    @property
    def paths(self) -> bytes:
        """The list of paths with sizes and hashes, nearly all of it."""
        return self.data[slice(*self.entries)]


@dataclass(frozen=True, slots=True)
class Library:
    """A shared object as its package records it."""

    path: str
    size: int | None
    sha256: str
    """As linked; empty: not recorded."""


def outline(data: bytes) -> Outline | None:
    """Read a record as conda and rattler indent it; costs little more than reading the file.

    None: it is indented otherwise, cut off, or no JSON.
    """
    begin = data.find(_FILES)
    paths_begin = data.find(_PATHS, max(begin, 0))
    if begin < 0 and paths_begin < 0 and (b'"files"' in data or b'"paths_data"' in data):
        return None  # on one line, or indented otherwise
    # from the back, where it is near: between the two lists there are short fields only
    end = (
        data.rfind(b"\n  ]", begin, paths_begin if paths_begin >= 0 else None) if begin >= 0 else 0
    )
    paths_end = _end_of_paths(data, paths_begin)
    if end < 0 or paths_end < 0:
        return None
    pieces = [data]
    if paths_begin >= 0:
        pieces = [data[max(end + 4, 0) if begin >= 0 else 0 : paths_begin]]
        pieces += [b'\n  "paths_data": 0', data[paths_end + 4 :]]
    elif begin >= 0:
        pieces = [data[end + 4 :]]
    if begin >= 0:
        pieces = [data[:begin], b'\n  "files": 0', *pieces]
    try:
        fields = json_text.parse(str(b"".join(pieces), "utf-8"))
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    names = (begin, end) if begin >= 0 else (0, 0)
    return Outline(fields, data, names, (paths_begin, paths_end) if paths_begin >= 0 else (0, 0))


def _end_of_paths(data: bytes, begin: int) -> int:
    """Where the list of paths ends; 0 where there is none, -1 where it does not end."""
    if begin < 0:
        return 0
    return data.find(b"\n  }", max(begin, data.rfind(b"\n    ]", begin)))


def distributions(found: Outline) -> list[str]:
    """The dist-info and egg-info entries of site-packages that a record lists, by name."""
    begin, end = found.names if found.names[1] - found.names[0] > 2 else found.entries
    if found.data.find(b"-packages/", begin, end) < 0:
        return []
    for mark, cut in (
        (b'.dist-info/METADATA"', 10),
        (b'.egg-info/PKG-INFO"', 9),
        (b'.egg-info"', 9),
    ):
        if names := list(_entries(found.data, begin, end, mark, cut)):
            return names
    return []


def _entries(data: bytes, begin: int, end: int, mark: bytes, cut: int) -> Iterator[str]:
    """From the end, which is twice as quick."""
    at = data.rfind(mark, begin, end)
    while at >= 0:
        path = data[data.rfind(b'"', begin, at) + 1 : at + cut]
        folder, _, name = path.rpartition(b"/")
        if folder.endswith(b"-packages"):
            yield name.decode("utf-8", "replace")
        at = data.rfind(mark, begin, at)


def libraries(paths: bytes) -> Iterator[Library]:
    """The shared objects among an outline's paths; links are left out."""
    at = paths.find(b".so")
    while at >= 0:
        end = paths.find(b"}", at)
        entry = _entry(paths[paths.rfind(b"{", 0, at) : end + 1])
        if entry is not None:
            yield entry
        at = paths.find(b".so", end) if end >= 0 else -1


_SHARED_OBJECT: Final = re.compile(r"\.so[0-9.]*$")


def _entry(text: bytes) -> Library | None:
    try:
        found = json_text.parse(text)
        path = found["_path"]
    except (ValueError, KeyError, TypeError):
        return None
    if found.get("path_type") == "softlink" or not _SHARED_OBJECT.search(path):
        return None
    size = None if found.get("prefix_placeholder") else found.get("size_in_bytes")
    return Library(path, size, str(found.get("sha256_in_prefix") or found.get("sha256") or ""))
