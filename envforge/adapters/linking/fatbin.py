"""GPU code in shared objects: walks the headers of CUDA's fat binaries, and skips their payloads.

A linked file keeps all its fat binaries in the section `.nv_fatbin` (code that is linked when a
program starts in `__nv_relfatbin`), one container after another. A container's header gives its
size; in it, each entry's header gives kind, architecture and the size of the payload after it.
The layout is NVIDIA's `fatbinary_section.h` and, for entries, what `fatbinary` and `cuobjdump` of
CUDA 10 to 13 write and read. Compressed payloads have the same headers.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envforge.verify.facts.code import DeviceCode

_MAGIC: Final = 0xBA55ED50
_MAGIC_BYTES: Final = _MAGIC.to_bytes(4, "little")
_CONTAINER: Final = struct.Struct("<IHHQ")
"""Magic, version, size of this header, size of all entries."""
_ENTRY: Final = struct.Struct("<HHIQIIHHIIIQ")
"""Kind, version, header size, payload size, two unused, minor, major, architecture, two, flags."""
_PTX, _ELF, _MERCURY = 1, 2, 16
_ARCHITECTURE_SPECIFIC: Final = 0x100000
_FAMILY_SPECIFIC: Final = 0x200000

_ELF_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SECTIONS: Final = (b".nv_fatbin", b"__nv_relfatbin")
_NOT_IN_FILE: Final = 8
_NAMES_LIMIT: Final = 1 << 20

_STEPS: Final = 250_000
"""Headers read of one file; the largest known library has some twenty thousand."""
_GAP: Final = 1 << 28
"""Bytes searched for the next container where none begins."""
_CHUNK: Final = 1 << 16
_EXTRAS: Final = 20
_SPECIAL_EXTRAS: Final = 4
"""Code that is in fewer than one of so many fat binaries is not what the file is built for; of
code for one architecture alone (`sm_90a`) some files have more. torch 2.14.1 for CUDA 13.0: all
475 have `sm_75` to `sm_120`, 59 `sm_100a` and `sm_103f`, 4 `sm_90a`, one `sm_89`.
"""

_TORCH: Final = re.compile(r"libtorch_cuda(_cu|_cpp|_linalg)?\.so")
_SHARED: Final = re.compile(r"\.(so|pyd)(\.\d+)*$")
_NOT_EXTENSIONS: Final = re.compile(r"torch|triton|nvidia([-_].*)?|tensorrt.*|__pycache__")
"""Folders of site-packages: torch itself, and libraries that NVIDIA builds for its own GPUs."""


def read_code(
    prefix: Path, site: Path | None, libraries: Mapping[str, str], *, every_file: bool
) -> Iterator[DeviceCode]:
    """The GPU code of torch, then of every extension that holds some.

    Args:
        prefix: what paths are relative to.
        site: its site-packages; None: there is none.
        libraries: file name to folder in the prefix, where torch's libraries are found.
        every_file: look for extensions in all folders, not in the topmost only.
    """
    own = os.path.relpath(site / "torch" / "lib", prefix) if site else ""
    for name in sorted(filter(_TORCH.fullmatch, libraries), key=lambda item: (len(item), item)):
        # where it lies twice, torch loads the one beside its own module
        beside = own and os.path.isfile(prefix / own / name)  # noqa: PTH113 - may not be entered
        place = f"{own if beside else libraries[name]}/{name}"
        if (found := read_device_code(prefix / place, place)) is not None:
            yield found
    for path in sorted(_extensions(str(site), 0, every_file=every_file)) if site else ():
        found = read_device_code(Path(path), os.path.relpath(path, prefix))
        if found is not None:
            yield found


def _extensions(folder: str, depth: int, *, every_file: bool) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            listed = list(entries)
    except OSError:
        return
    for entry in listed:
        if _SHARED.search(entry.name):
            yield entry.path
        elif "." in entry.name and not entry.name.endswith(".egg"):
            continue  # a file, or metadata: spares asking the filesystem
        elif depth == 0 and _NOT_EXTENSIONS.fullmatch(entry.name):
            continue
        elif (every_file or depth == 0) and entry.is_dir(follow_symlinks=False):
            yield from _extensions(entry.path, depth + 1, every_file=every_file)


def read_device_code(path: Path, name: str) -> DeviceCode | None:
    """The GPU code of one file; None: no ELF file, or none in it.

    Only headers are read: 500 MB take some ten milliseconds. Sizes that cannot be end the walk,
    with what was found and a `problem`; so does a file that may not be read.
    """
    try:
        # not blocking: a pipe of this name would wait for somebody to write
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return DeviceCode(path=name, architectures=(), problem=(error.strerror or "").lower())
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        walk = _Walk(descriptor, os.fstat(descriptor).st_size)
        return walk.code(name) if walk.run() else None
    except OSError as error:
        return DeviceCode(path=name, architectures=(), problem=(error.strerror or "").lower())
    finally:
        os.close(descriptor)


class _EndOfWalk(Exception):
    """The file says something that cannot be; its text says what."""


@dataclass(slots=True)
class _Walk:
    descriptor: int
    size: int
    steps: int = 0
    ptx: tuple[int, int] | None = None
    problem: str = ""
    found: Counter[str] = field(default_factory=Counter)
    """Architecture to the number of containers that hold it."""

    def run(self) -> bool:
        """Walk all sections; False: there is none with GPU code."""
        sections = list(self._sections())
        is_bare = not sections and self._is_bare()
        for start, length in [(0, self.size)] if is_bare else sections:
            end = min(start + length, self.size)
            if end < start + length:
                self.problem = "the file ends before its GPU code does"
            try:
                self._walk(start, end)
            except _EndOfWalk as reason:
                self.problem = str(reason)
        return bool(self.found if is_bare else sections)

    def _is_bare(self) -> bool:
        """Whether nothing says where code would be: no shared object, or one without sections."""
        head = self._read(0, _ELF_HEADER.size)
        if len(head) < _ELF_HEADER.size or head[:6] != b"\x7fELF\x02\x01":
            return True
        return bool(_ELF_HEADER.unpack(head)[6] == 0)

    def code(self, name: str) -> DeviceCode:
        most = max(self.found.values(), default=0)
        return DeviceCode(
            path=name,
            architectures=tuple(sorted(self.found, key=_order)),
            rare=frozenset(flag for flag, n in self.found.items() if n * _share(flag) < most),
            ptx=self.ptx,
            problem=self.problem,
        )

    def _read(self, position: int, length: int) -> bytes:
        return os.pread(self.descriptor, length, position) if 0 <= position < self.size else b""

    def _sections(self) -> Iterator[tuple[int, int]]:
        """Offset and size of the sections with fat binaries."""
        head = self._read(0, _ELF_HEADER.size)
        if len(head) < _ELF_HEADER.size or head[:6] != b"\x7fELF\x02\x01":
            return
        fields = _ELF_HEADER.unpack(head)
        table, width, count, index = fields[6], fields[11], fields[12], fields[13]
        data = self._read(table, width * count)
        if width != _SECTION.size or index >= count or len(data) < width * count:
            return
        sections = list(_SECTION.iter_unpack(data))
        names = self._read(sections[index][4], min(sections[index][5], _NAMES_LIMIT))
        for section in sections:
            name = names[section[0] :].partition(b"\0")[0] if section[0] < len(names) else b""
            if name in _SECTIONS and section[1] != _NOT_IN_FILE:
                yield section[4], section[5]

    def _walk(self, position: int, end: int) -> None:
        while position + _CONTAINER.size <= end:
            data = self._header(position, _CONTAINER.size)
            magic, _, header, length = _CONTAINER.unpack(data)
            if magic != _MAGIC:
                position = self._next(position, end)
                continue
            stop = position + header + length
            if header < _CONTAINER.size or stop > end:
                self._entries(position + max(header, _CONTAINER.size), end)
                raise _EndOfWalk("a fat binary is larger than the section it is in")
            self._entries(position + header, stop)
            position = stop

    def _entries(self, position: int, stop: int) -> None:
        seen: set[str] = set()
        try:
            while position + _ENTRY.size <= stop:
                entry = _ENTRY.unpack(self._header(position, _ENTRY.size))
                header, payload = entry[2], entry[3]
                seen.update(self._architecture(entry))
                if header < _ENTRY.size or position + header + payload > stop:
                    raise _EndOfWalk("an entry is larger than the fat binary it is in")
                position += header + payload
        finally:
            self.found.update(seen)

    def _architecture(self, entry: tuple[int, ...]) -> Iterator[str]:
        kind, minor, major, number, flags = entry[0], entry[6], entry[7], entry[8], entry[11]
        if kind not in {_PTX, _ELF, _MERCURY}:
            return  # LTO intermediates and the like run on nothing
        if not 10 <= number <= 999:
            raise _EndOfWalk(f"an entry is for architecture {number}, which cannot be")
        variant = "a" if flags & _ARCHITECTURE_SPECIFIC else "f" if flags & _FAMILY_SPECIFIC else ""
        if kind == _PTX and major:
            self.ptx = max(self.ptx or (0, 0), (major, minor))
        yield f"{'compute' if kind == _PTX else 'sm'}_{number}{variant}"

    def _header(self, position: int, length: int) -> bytes:
        self.steps += 1
        data = self._read(position, length)
        if self.steps > _STEPS or len(data) < length:
            raise _EndOfWalk("too many entries" if len(data) == length else "the file ends")
        return data

    def _next(self, position: int, end: int) -> int:
        """Where the next container begins: between two there may be padding; else the end."""
        limit = min(end, position + _GAP)
        while position < limit:
            chunk = self._read(position, min(_CHUNK, end - position))
            place = chunk.find(_MAGIC_BYTES)
            if place >= 0:
                return position + place
            position += max(len(chunk) - 3, 1) if len(chunk) == _CHUNK else _CHUNK
        return end


def _share(flag: str) -> int:
    return _SPECIAL_EXTRAS if flag.endswith(("a", "f")) else _EXTRAS


def _order(flag: str) -> tuple[bool, int, str]:
    kind, _, number = flag.partition("_")
    digits = number.rstrip("af")
    return kind != "sm", int(digits), number
