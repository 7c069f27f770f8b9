"""Whether an ELF file ends before its own headers say that it does.

A shared object that a full disk cut off can still be loaded, and ends the process with SIGBUS when
the lost part is used. Layout after the System V ABI (gABI, "ELF Header", "Program Header").
"""

from __future__ import annotations

import os
import struct
from typing import Final

from envforge.adapters.files import read_start

_HEADER: Final = 64
_CLASSES: Final = {
    # class: (header from e_phoff on, its place, program header, places of p_offset and p_filesz)
    1: ("IIIHHHHHH", 28, 32, "I", 4, 16),
    2: ("QQIHHHHHH", 32, 56, "Q", 8, 32),
}
_MOST_SEGMENTS: Final = 64


def is_cut(path: str) -> bool | None:
    """True: a part is missing; False: it is whole; None: no ELF file, or one that lies."""
    try:
        data = read_start(path, _HEADER + 56 * _MOST_SEGMENTS)
        size = os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return None
    if data[:4] != b"\x7fELF" or len(data) < 6 or data[4] not in _CLASSES or data[5] not in {1, 2}:
        return None
    if len(data) < _HEADER:
        return True
    needed = _needed(data, ">" if data[5] == 2 else "<")
    return None if needed is None else size < needed


def _needed(data: bytes, order: str) -> int | None:
    """Bytes up to the end of the section table and of the last segment."""
    layout, place, length, number, offset_at, size_at = _CLASSES[data[4]]
    fields = struct.unpack_from(order + layout, data, place)
    segments_at, sections_at, _, _, segment_size, segments, section_size, sections, _ = fields
    if segments and segment_size < length:
        return None
    end = sections_at + section_size * sections if sections_at else 0
    for index in range(min(segments, _MOST_SEGMENTS)):
        at = segments_at + index * segment_size
        if at + length > len(data):
            break
        kind = struct.unpack_from(order + "I", data, at)[0]
        if kind == 1:  # PT_LOAD
            offset = struct.unpack_from(order + number, data, at + offset_at)[0]
            end = max(end, offset + struct.unpack_from(order + number, data, at + size_at)[0])
    return int(end)
