"""Symbols of a shared object: those it wants of others, and whether it provides some.

The GNU hash table (glibc, `elf/dl-lookup.c`) is of the defined symbols, which stand last; so what
stands before its first is wanted of others, and thousands of names need not be read.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from envforge.adapters.linking.elf_files import Damaged, ElfFile, FileBytes, Tables

_LOG = logging.getLogger(__name__)

_SYMBOL: Final = struct.Struct("<IBBHQQ")
_GNU_HASH: Final = struct.Struct("<IIII")
_HASH: Final = struct.Struct("<II")
_WEAK: Final = 2
_LONGEST_CHAIN: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A symbol that another library has to provide."""

    name: str
    file: str | None = None
    """The library it is wanted of, where symbols have versions."""
    version: str | None = None


def wanted_symbols(file: ElfFile, *, versioned_of: Collection[str] | None = None) -> list[Wanted]:
    """The symbols that others have to provide, those that may be absent left out.

    Args:
        file: which library.
        versioned_of: only those with a version, wanted of one of these libraries; None: all.
    """
    if file.tables is None or not file.tables.symbols:
        return []
    try:
        with FileBytes(file.path) as data:
            return list(_wanted(data, file.tables, versioned_of))
    except (OSError, Damaged, struct.error):
        return []


def _wanted(data: FileBytes, tables: Tables, of: Collection[str] | None) -> Iterator[Wanted]:
    count = _undefined_end(data, tables)
    symbols = data.read(tables.symbols, count * _SYMBOL.size)
    indices = (
        struct.unpack(f"<{count}H", data.read(tables.versions, 2 * count))
        if tables.versions
        else (0,) * count
    )
    if of is not None:
        kept = {index for index, (library, _) in tables.version_names.items() if library in of}
        if not kept:
            return
    for (name, info, _, section, _, _), index in zip(
        _SYMBOL.iter_unpack(symbols), indices, strict=True
    ):
        if section or not name or info >> 4 == _WEAK:
            continue
        if of is not None and index & 0x7FFF not in kept:
            continue
        library, version = tables.version_names.get(index & 0x7FFF, (None, None))
        yield Wanted(name=data.string(tables.strings + name), file=library, version=version)


def _undefined_end(data: FileBytes, tables: Tables) -> int:
    """How many symbols to look at: the GNU hash table is of the defined ones, which come last."""
    if tables.gnu_hash:
        first = int(_GNU_HASH.unpack(data.read(tables.gnu_hash, _GNU_HASH.size))[1])
        if first > 1:
            return first
    if tables.symbol_count:
        return tables.symbol_count
    if tables.hash:
        return int(_HASH.unpack(data.read(tables.hash, _HASH.size))[1])
    return 0


def exported(file: ElfFile, names: Collection[str]) -> frozenset[str] | None:
    """Those of the names that the library provides; None: it cannot be told."""
    if file.tables is None or not (file.tables.gnu_hash or file.tables.hash) or not file.is_whole:
        return None
    try:
        with FileBytes(file.path) as data:
            kind = _GnuHash if file.tables.gnu_hash else _OldHash
            table = kind(data, file.tables)
            return frozenset(name for name in names if table.has(name))
    except (OSError, Damaged, struct.error, UnicodeEncodeError):
        return None


class _GnuHash:
    def __init__(self, data: FileBytes, tables: Tables) -> None:
        place = tables.gnu_hash
        self._data, self._tables = data, tables
        self._count, self._first, words, self._shift = _GNU_HASH.unpack(
            data.read(place, _GNU_HASH.size)
        )
        if not words or not self._count:
            raise Damaged
        place += _GNU_HASH.size
        self._bloom = struct.unpack(f"<{words}Q", data.read(place, 8 * words))
        place += 8 * words
        self._buckets = struct.unpack(f"<{self._count}I", data.read(place, 4 * self._count))
        self._chains = place + 4 * self._count

    def has(self, name: str) -> bool:
        wanted = _gnu_hash(name.encode("utf-8", "surrogateescape"))
        word = self._bloom[(wanted >> 6) % len(self._bloom)]
        if not (word >> (wanted & 63)) & (word >> ((wanted >> self._shift) & 63)) & 1:
            return False
        index = self._buckets[wanted % self._count]
        if index < self._first:
            return False
        for _ in range(_LONGEST_CHAIN):
            place = self._chains + 4 * (index - self._first)
            (found,) = struct.unpack("<I", self._data.read(place, 4))
            if found | 1 == wanted | 1 and _is_defined(self._data, self._tables, index, name):
                return True
            if found & 1:
                return False
            index += 1
        raise Damaged


class _OldHash:
    def __init__(self, data: FileBytes, tables: Tables) -> None:
        self._data, self._tables = data, tables
        buckets, chains = _HASH.unpack(data.read(tables.hash, _HASH.size))
        if not buckets:
            raise Damaged
        place = tables.hash + _HASH.size
        self._buckets = struct.unpack(f"<{buckets}I", data.read(place, 4 * buckets))
        self._chains = struct.unpack(f"<{chains}I", data.read(place + 4 * buckets, 4 * chains))

    def has(self, name: str) -> bool:
        wanted = _old_hash(name.encode("utf-8", "surrogateescape"))
        index = self._buckets[wanted % len(self._buckets)]
        for _ in range(_LONGEST_CHAIN):
            if not index:
                return False
            if _is_defined(self._data, self._tables, index, name):
                return True
            if index >= len(self._chains):
                break
            index = self._chains[index]
        raise Damaged


def _is_defined(data: FileBytes, tables: Tables, index: int, name: str) -> bool:
    entry = data.read(tables.symbols + index * _SYMBOL.size, _SYMBOL.size)
    place, _, _, section, _, _ = _SYMBOL.unpack(entry)
    return bool(section) and data.string(tables.strings + place) == name


def _gnu_hash(name: bytes) -> int:
    value = 5381
    for byte in name:
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


def _old_hash(name: bytes) -> int:
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value


def second_reader_finds(path: str, name: str) -> bool:
    """Whether pyelftools finds a symbol that a library defines; False where it cannot read it.

    Asked before a library is accused: a mistake in our own reader must not become a false alarm.
    """
    from elftools.elf.elffile import ELFFile
    from elftools.elf.hash import ELFHashSection, GNUHashSection

    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - what pyelftools wants
            file = ELFFile(stream)
            table = file.get_section_by_name(".gnu.hash") or file.get_section_by_name(".hash")
            if not isinstance(table, (GNUHashSection, ELFHashSection)):
                return False
            found = table.get_symbol(name)
            return found is not None and bool(found["st_shndx"] != "SHN_UNDEF")
    except Exception as error:  # noqa: BLE001 - it raises anything on files that are damaged
        _LOG.debug("pyelftools cannot read %s: %s", path, error)
        return False
