"""The dynamic section of ELF files: libraries needed, search path, C library required.

Layout after the System V ABI (gABI, "Program Loading and Dynamic Linking") and, for symbol
versions, the Linux Standard Base. 64-bit little-endian files only: all platforms we know.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC: Final = struct.Struct("<qQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_VERNEED: Final = struct.Struct("<HHIII")
_VERNAUX: Final = struct.Struct("<IHHII")

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 10, 14, 15, 29
_DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
_SHT_DYNSYM = 11
_GLIBC = re.compile(rb"GLIBC_(\d+)\.(\d+)")


class NotElf(ValueError):
    """The bytes are no ELF file of the kind we read, or they lie about themselves."""


class RunpathFixed(ValueError):
    """The search path cannot be rewritten in place: too long, or shared with another name."""


def is_elf(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a 64-bit little-endian ELF file."""
    return head[:6] == b"\x7fELF\x02\x01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamic:
    """What the dynamic section says."""

    needed: tuple[str, ...]
    """Libraries by soname, in order."""
    runpath: str | None
    """DT_RUNPATH, or the older DT_RPATH; None: no search path of its own."""
    runpath_offset: int = 0
    """Where its string begins in the file."""
    names: frozenset[int] = frozenset()
    """File offsets of all other strings that the tables refer to."""
    glibc: tuple[int, int] | None = None
    """Newest C library version a symbol asks for."""


def read_dynamic(data: bytes) -> Dynamic:
    """Read the dynamic section; a static file has nothing in it.

    Raises:
        NotElf: another kind of file, or a damaged one.
    """
    if not is_elf(data):
        raise NotElf("not a 64-bit little-endian ELF file")
    try:
        return _Reader(data).read()
    except (struct.error, IndexError, ValueError) as error:
        raise NotElf(f"damaged: {error}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        header = _HEADER.unpack_from(data)
        self._segments = [
            _SEGMENT.unpack_from(data, header[5] + index * header[9]) for index in range(header[10])
        ]
        self._sections = [
            _SECTION.unpack_from(data, header[6] + index * header[11])
            for index in range(header[12])
        ]

    def read(self) -> Dynamic:
        entries = list(self._entries())
        tags = dict(reversed(entries))
        if _DT_STRTAB not in tags:
            return Dynamic(needed=(), runpath=None)
        strings = self._offset(tags[_DT_STRTAB])
        path = tags.get(_DT_RUNPATH, tags.get(_DT_RPATH))
        versions = list(self._versions(tags))
        names = {strings + value for tag, value in entries if tag in {_DT_NEEDED, _DT_SONAME}}
        names |= {strings + name for name in (*self._symbols(), *versions)}
        return Dynamic(
            needed=tuple(self._text(strings + v) for tag, v in entries if tag == _DT_NEEDED),
            runpath=None if path is None else self._text(strings + path),
            runpath_offset=0 if path is None else strings + path,
            names=frozenset(names),
            glibc=self._newest_glibc(strings, versions),
        )

    def _entries(self) -> Iterator[tuple[int, int]]:
        for kind, _, offset, _, _, size, _, _ in self._segments:
            if kind != _PT_DYNAMIC:
                continue
            for tag, value in _DYNAMIC.iter_unpack(self._data[offset : offset + size]):
                if tag == 0:
                    return
                yield tag, value

    def _offset(self, address: int) -> int:
        for kind, _, offset, virtual, _, size, _, _ in self._segments:
            if kind == _PT_LOAD and virtual <= address < virtual + size:
                return int(address - virtual + offset)
        raise ValueError(f"address {address:#x} is in no segment")

    def _text(self, offset: int) -> str:
        return self._data[offset : self._data.index(0, offset)].decode("utf-8", "surrogateescape")

    def _symbols(self) -> Iterator[int]:
        for _, kind, _, _, offset, size, _, _, _, _ in self._sections:
            if kind == _SHT_DYNSYM:
                table = self._data[offset : offset + size]
                yield from (symbol[0] for symbol in _SYMBOL.iter_unpack(table))

    def _versions(self, tags: dict[int, int]) -> Iterator[int]:
        """Offsets, in the string table, of the symbol versions this file needs."""
        if _DT_VERNEED not in tags:
            return
        position = self._offset(tags[_DT_VERNEED])
        for _ in range(tags.get(_DT_VERNEEDNUM, 0)):
            _, count, file, auxiliary, following = _VERNEED.unpack_from(self._data, position)
            yield file
            inner = position + auxiliary
            for _ in range(count):
                _, _, _, name, step = _VERNAUX.unpack_from(self._data, inner)
                yield name
                inner += step
            position += following

    def _newest_glibc(self, strings: int, versions: list[int]) -> tuple[int, int] | None:
        found = (_GLIBC.match(self._data, strings + name) for name in versions)
        return max(((int(m[1]), int(m[2])) for m in found if m), default=None)


def with_runpath(data: bytes, runpath: str) -> bytes:
    """The file with another library search path, in place of the old one's bytes.

    Raises:
        NotElf: see `read_dynamic`.
        RunpathFixed: there is no search path, the new one is longer, or the linker let another
            name share its bytes.
    """
    dynamic = read_dynamic(data)
    if dynamic.runpath is None:
        raise RunpathFixed("it has no search path to replace")
    start = dynamic.runpath_offset
    end = start + len(dynamic.runpath.encode("utf-8", "surrogateescape"))
    new = runpath.encode()
    if len(new) > end - start:
        raise RunpathFixed(f"`{runpath}` is longer than `{dynamic.runpath}`")
    # Linkers merge strings that end alike: a name may begin inside this one.
    if any(start <= offset <= end for offset in dynamic.names):
        raise RunpathFixed(f"another name shares the bytes of `{dynamic.runpath}`")
    return data[:start] + new.ljust(end - start, b"\0") + data[end:]
