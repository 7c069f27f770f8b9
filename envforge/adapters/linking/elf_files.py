"""What the loader reads of a shared object: its tables, symbol versions and symbols.

Layout after the System V ABI and the Linux Standard Base (symbol versions). 64-bit little-endian
files only: all platforms we know. Only the parts that are wanted are read: a library may have
500 MB.

Read with `struct`, because pyelftools takes 6 ms a file for the same, which for the sixty files
of a CUDA build is more than all the rest of a static verification. Before a library is accused
of a missing symbol pyelftools is asked too (`elf_symbols.second_reader_finds`).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC: Final = struct.Struct("<qQ")
_VERNEED: Final = struct.Struct("<HHIII")
_VERNAUX: Final = struct.Struct("<IHHII")
_VERDEF: Final = struct.Struct("<HHHHIII")
_VERDAUX: Final = struct.Struct("<II")

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_GNU_STACK = 1, 2, 3, 0x6474E551
_PF_X: Final = 1
_X86_64: Final = 62
_NEEDED, _HASH_TABLE, _STRINGS, _SYMBOLS, _SONAME, _RPATH = 1, 4, 5, 6, 14, 15
_RUNPATH, _FLAGS, _GNU_HASH_TABLE = 29, 30, 0x6FFFFEF5
_VERSYM, _FLAGS_1 = 0x6FFFFFF0, 0x6FFFFFFB
_DEFINED, _DEFINED_COUNT = 0x6FFFFFFC, 0x6FFFFFFD
_WANTED, _WANTED_COUNT = 0x6FFFFFFE, 0x6FFFFFFF
_STATIC_TLS, _NO_DEFAULT_FOLDERS = 0x10, 0x800
_WEAK_VERSION, _BASE_VERSION = 0x2, 0x1
_SHT_DYNSYM: Final = 11
_SYMBOL_SIZE: Final = 24
_BLOCK: Final = 4096
_MOST: Final = 1 << 24
"""Bytes or entries of one table; more is no library that anybody links."""
_LONGEST_CHAIN: Final = 1 << 16


class Damaged(Exception):
    """The file does not hold what its tables say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfFile:
    """A shared object or a program. Strings are as they stand: `$ORIGIN` is not replaced."""

    path: str
    size: int
    demanded: int
    """Bytes that its own headers claim; more than `size`: the file was cut off."""
    machine: int
    """`e_machine`: 62 is x86-64, 183 aarch64."""
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    """Empty where there is a runpath, because the loader ignores it then."""
    runpath: tuple[str, ...] | None = None
    interpreter: str | None = None
    """The loader that a program asks for."""
    default_folders: bool = True
    """False: the loader's cache and its default folders are not for this file."""
    static_tls: bool = False
    executable_stack: bool = False
    wants: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """File to the symbol versions wanted of it; those that may be absent are left out."""
    provides: frozenset[str] = frozenset()
    """Symbol versions; empty: its symbols have none, and every version is found in it."""
    tables: Tables | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the file is as long as its headers say."""
        return self.size >= self.demanded


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Where the tables of symbols begin in the file; 0: there is none."""

    strings: int = 0
    symbols: int = 0
    gnu_hash: int = 0
    hash: int = 0
    versions: int = 0
    symbol_count: int = 0
    """By the section table; 0: there is none."""
    version_names: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Version index to the file it is wanted of, and its name."""


def read_elf(path: str) -> ElfFile | None:
    """The tables of a file; None: no 64-bit little-endian ELF file, or it cannot be read."""
    try:
        with FileBytes(path) as data:
            return _Reader(path, data).read()
    except (OSError, Damaged, struct.error):
        return None


class FileBytes:
    """Bytes of a file by their place. Not mapped: a file cut off meanwhile would kill us."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._blocks: dict[int, bytes] = {}
        try:
            self.size = os.fstat(self._file).st_size
        except OSError:
            os.close(self._file)
            raise

    def __enter__(self) -> FileBytes:  # noqa: PYI034 - Self is of Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def read(self, offset: int, size: int) -> bytes:
        """Raises Damaged where the file ends before."""
        if not 0 <= size <= _MOST or not 0 <= offset <= self.size - size:
            raise Damaged
        if size > _BLOCK // 2:
            return self._exactly(offset, size)
        block, start = divmod(offset, _BLOCK)
        data = self._block(block)
        if start + size > _BLOCK:
            data += self._block(block + 1)
        if start + size > len(data):
            raise Damaged
        return data[start : start + size]

    def string(self, offset: int) -> str:
        """Up to its zero; at most some blocks."""
        if not 0 <= offset < self.size:
            raise Damaged
        block, start = divmod(offset, _BLOCK)
        data = self._block(block)
        end = data.find(b"\0", start)
        while end < 0:
            block += 1
            more = self._block(block)
            if not more or len(data) > 16 * _BLOCK:
                raise Damaged
            data += more
            end = data.find(b"\0", start)
        return data[start:end].decode("utf-8", "backslashreplace")

    def _block(self, number: int) -> bytes:
        found = self._blocks.get(number)
        if found is None:
            found = self._blocks[number] = os.pread(self._file, _BLOCK, number * _BLOCK)
        return found

    def _exactly(self, offset: int, size: int) -> bytes:
        data = os.pread(self._file, size, offset)
        if len(data) != size:
            raise Damaged
        return data


class _Reader:
    def __init__(self, path: str, data: FileBytes) -> None:
        self._path = path
        self._data = data
        head = data.read(0, _HEADER.size)
        if head[:6] != b"\x7fELF\x02\x01":
            raise Damaged
        self._header = _HEADER.unpack(head)
        size, count = self._header[9], self._header[10]
        if size != _SEGMENT.size or not count:
            raise Damaged
        segments = data.read(self._header[5], size * count)
        self._segments = list(_SEGMENT.iter_unpack(segments))

    def read(self) -> ElfFile:
        bare = ElfFile(
            path=self._path,
            size=self._data.size,
            demanded=self._demanded(),
            machine=self._header[2],
        )
        try:
            return self._with_dynamic(bare)
        except (Damaged, struct.error):
            if bare.is_whole:
                raise
            return bare

    def _demanded(self) -> int:
        """The end of the last segment, and of the section table, which stands at the end."""
        ends: list[int] = [item[2] + item[5] for item in self._segments if item[0] == _PT_LOAD]
        _, _, _, _, _, _, sections, _, _, _, _, size, count, _ = self._header
        return max([_HEADER.size, *ends, sections + size * count if sections else 0])

    def _with_dynamic(self, bare: ElfFile) -> ElfFile:
        entries = list(self._entries())
        tags = dict(reversed(entries))
        strings = self._offset(tags[_STRINGS]) if _STRINGS in tags else 0
        if not strings:
            return replace(bare, interpreter=self._interpreter())

        def text(tag: int) -> str | None:
            return self._data.string(strings + tags[tag]) if tag in tags else None

        runpath, rpath = text(_RUNPATH), text(_RPATH)
        wants, names = self._wanted_versions(tags, strings)
        return replace(
            bare,
            soname=text(_SONAME),
            needed=tuple(self._data.string(strings + v) for t, v in entries if t == _NEEDED),
            runpath=None if runpath is None else _folders(runpath),
            rpath=_folders(rpath) if rpath and runpath is None else (),
            interpreter=self._interpreter(),
            default_folders=not tags.get(_FLAGS_1, 0) & _NO_DEFAULT_FOLDERS,
            static_tls=bool(tags.get(_FLAGS, 0) & _STATIC_TLS),
            executable_stack=self._executable_stack(),
            wants=wants,
            provides=frozenset(self._own_versions(tags, strings)),
            tables=Tables(
                strings=strings,
                symbols=self._table(tags, _SYMBOLS),
                gnu_hash=self._table(tags, _GNU_HASH_TABLE),
                hash=self._table(tags, _HASH_TABLE),
                versions=self._table(tags, _VERSYM),
                symbol_count=self._symbol_count(),
                version_names=names,
            ),
        )

    def _entries(self) -> Iterator[tuple[int, int]]:
        for kind, _, offset, _, _, size, _, _ in self._segments:
            if kind != _PT_DYNAMIC:
                continue
            data = self._data.read(offset, size - size % _DYNAMIC.size)
            for tag, value in _DYNAMIC.iter_unpack(data):
                if tag == 0:
                    return
                yield tag, value

    def _offset(self, address: int) -> int:
        for kind, _, offset, virtual, _, size, _, _ in self._segments:
            if kind == _PT_LOAD and virtual <= address < virtual + size:
                return int(address - virtual + offset)
        raise Damaged

    def _table(self, tags: dict[int, int], tag: int) -> int:
        return self._offset(tags[tag]) if tag in tags else 0

    def _interpreter(self) -> str | None:
        place = next((item for item in self._segments if item[0] == _PT_INTERP), None)
        return self._data.string(place[2]) if place else None

    def _executable_stack(self) -> bool:
        """Without the entry the processor's default holds: on x86-64 an executable one."""
        stack = next((item for item in self._segments if item[0] == _PT_GNU_STACK), None)
        return bool(stack[1] & _PF_X) if stack else self._header[2] == _X86_64

    def _symbol_count(self) -> int:
        _, _, _, _, _, _, sections, _, _, _, _, size, count, _ = self._header
        if not sections or size != _SECTION.size or sections + size * count > self._data.size:
            return 0
        table = self._data.read(sections, size * count)
        found = (item[5] for item in _SECTION.iter_unpack(table) if item[1] == _SHT_DYNSYM)
        return int(next(found, 0)) // _SYMBOL_SIZE

    def _wanted_versions(
        self, tags: dict[int, int], strings: int
    ) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], dict[int, tuple[str, str]]]:
        wants: list[tuple[str, tuple[str, ...]]] = []
        names: dict[int, tuple[str, str]] = {}
        position = self._table(tags, _WANTED)
        for _ in range(min(tags.get(_WANTED_COUNT, 0), _LONGEST_CHAIN)):
            _, count, file, inner, step = _VERNEED.unpack(self._data.read(position, _VERNEED.size))
            library, versions = self._data.string(strings + file), []
            inner += position
            for _ in range(count):
                _, flags, index, name, next_ = _VERNAUX.unpack(
                    self._data.read(inner, _VERNAUX.size)
                )
                version = self._data.string(strings + name)
                names[index & 0x7FFF] = (library, version)
                if not flags & _WEAK_VERSION:
                    versions.append(version)
                inner += next_
            wants.append((library, tuple(versions)))
            position += step
        return tuple(wants), names

    def _own_versions(self, tags: dict[int, int], strings: int) -> Iterator[str]:
        position = self._table(tags, _DEFINED)
        for _ in range(min(tags.get(_DEFINED_COUNT, 0), _LONGEST_CHAIN)):
            _, flags, _, _, _, inner, step = _VERDEF.unpack(self._data.read(position, _VERDEF.size))
            if not flags & _BASE_VERSION:
                name, _ = _VERDAUX.unpack(self._data.read(position + inner, _VERDAUX.size))
                yield self._data.string(strings + name)
            position += step


def _folders(text: str) -> tuple[str, ...]:
    return tuple(item for item in text.split(":") if item)
