"""Reads the loader's cache, `/etc/ld.so.cache`, in both of its formats.

Layout after glibc, `sysdeps/generic/dl-cache.h`. Before glibc 2.32 the file begins with the older
format and holds the newer behind it; NixOS and musl have none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

_OLD_MAGIC: Final = b"ld.so-1.7.0"
_NEW_MAGIC: Final = b"glibc-ld.so.cache1.1"
_OLD_HEADER: Final = struct.Struct("<12sI")
_OLD_ENTRY: Final = struct.Struct("<iII")
_NEW_HEADER: Final = struct.Struct("<20sII")
_NEW_HEADER_SIZE: Final = 48
_NEW_ENTRY: Final = struct.Struct("<iIIIQ")
_LONGEST: Final = 4096

_ARCHITECTURE: Final = 0xFF00
_OF_64_BITS: Final = frozenset({0x0300, 0x0A00})
"""x86-64 and aarch64; 0 is 32-bit x86, 0x0800 is x32."""


def read_ld_cache(data: bytes) -> Mapping[str, tuple[str, ...]]:
    """Soname to the paths the loader would try, in order; only those for 64-bit programs.

    Damaged entries are left out; bytes that are no cache at all give an empty answer.
    """
    found: dict[str, list[str]] = {}
    for name, path in _entries(data):
        paths = found.setdefault(name, [])
        if path not in paths:
            paths.append(path)
    return {name: tuple(paths) for name, paths in found.items()}


def _entries(data: bytes) -> Iterator[tuple[str, str]]:
    start = data.find(_NEW_MAGIC)
    if start >= 0:
        yield from _new_entries(data[start:])
    elif data.startswith(_OLD_MAGIC):
        yield from _old_entries(data)


def _new_entries(data: bytes) -> Iterator[tuple[str, str]]:
    if len(data) < _NEW_HEADER_SIZE:
        return
    _, count, _ = _NEW_HEADER.unpack_from(data)
    count = min(count, (len(data) - _NEW_HEADER_SIZE) // _NEW_ENTRY.size)
    end = _NEW_HEADER_SIZE + count * _NEW_ENTRY.size
    for flags, key, value, _, _ in _NEW_ENTRY.iter_unpack(data[_NEW_HEADER_SIZE:end]):
        yield from _entry(data, flags, key, value)


def _old_entries(data: bytes) -> Iterator[tuple[str, str]]:
    if len(data) < _OLD_HEADER.size:
        return
    _, count = _OLD_HEADER.unpack_from(data)
    count = min(count, (len(data) - _OLD_HEADER.size) // _OLD_ENTRY.size)
    strings = _OLD_HEADER.size + count * _OLD_ENTRY.size
    for flags, key, value in _OLD_ENTRY.iter_unpack(data[_OLD_HEADER.size : strings]):
        yield from _entry(data, flags, strings + key, strings + value)


def _entry(data: bytes, flags: int, key: int, value: int) -> Iterator[tuple[str, str]]:
    if flags & _ARCHITECTURE not in _OF_64_BITS:
        return
    name, path = _string(data, key), _string(data, value)
    if name and path:
        yield name, path


def _string(data: bytes, start: int) -> str:
    end = data.find(b"\0", start, start + _LONGEST)
    return data[start:end].decode("utf-8", "surrogateescape") if 0 <= start < end else ""
