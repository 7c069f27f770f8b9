"""How files came into a prefix: seen on the files, not taken from what was asked for."""

from __future__ import annotations

import fcntl
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from envforge.formats.conda import conda_meta

LinkMode = Literal["hardlink", "reflink", "copy", "none"]
_FIEMAP: Final = 0xC020660B  # FS_IOC_FIEMAP, linux/fs.h
_SHARED: Final = 0x2000  # FIEMAP_EXTENT_SHARED, linux/fiemap.h
_HEADER: Final = "=QQIIII"  # struct fiemap: start, length, flags, mapped, count, reserved
_EXTENT_BYTES: Final = 56  # struct fiemap_extent
_EXTENT_FLAGS: Final = 40  # where its flags lie


def link_mode(records: Iterable[Path]) -> LinkMode:
    """Look at the first linked file that can tell.

    Args:
        records: conda-meta files of packages that were just linked; a file of theirs with a second
            name can only have it in the package cache.
    """
    for record in records:
        for item in conda_meta.read_files(record.read_bytes(), str(record)):
            if item.size:  # neither a link nor rewritten nor empty
                return _mode_of(record.parent.parent / item.path)
    return "none"


def _mode_of(path: Path) -> LinkMode:
    if path.lstat().st_nlink > 1:
        return "hardlink"
    return "reflink" if _shares_extents(path) else "copy"


def _shares_extents(path: Path) -> bool:
    """Whether the filesystem says that the first extent belongs to another file, too."""
    question = struct.pack(_HEADER, 0, 2**64 - 1, 0, 0, 1, 0)
    buffer = bytearray(question + bytes(_EXTENT_BYTES))
    try:
        with path.open("rb") as stream:
            fcntl.ioctl(stream, _FIEMAP, buffer)
    except OSError:
        return False  # tmpfs and network filesystems have no such call, and no reflinks
    mapped = struct.unpack_from(_HEADER, buffer)[3]
    flags = struct.unpack_from("=I", buffer, len(question) + _EXTENT_FLAGS)[0]
    return bool(mapped and flags & _SHARED)
