"""The bytes of one open file into another, by the kernel."""

from __future__ import annotations

import fcntl
import os
from typing import Final

_FICLONE: Final = 0x40049409  # linux/fs.h
_CHUNK: Final = 1 << 27
"""Bytes in one call: sendfile(2) takes no more than 2 GiB."""


def reflink(source: int, target: int) -> None:
    """Share the blocks, copy on write (ioctl_ficlone(2)).

    Raises:
        OSError: the filesystem cannot, or it is another one.
    """
    fcntl.ioctl(target, _FICLONE, source)


def copy(source: int, target: int, size: int) -> None:
    """Write all bytes behind what is there.

    Raises:
        OSError: the disk is full, or the source is shorter than `size` by now.
    """
    done = 0
    while done < size:
        count = os.sendfile(target, source, done, min(_CHUNK, size - done))
        if not count:
            raise OSError(None, "it became shorter while it was read")
        done += count
