"""Asking the kernel to write: early, or all that a filesystem has not written yet."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any, Final

_WRITE: Final = 2  # SYNC_FILE_RANGE_WRITE, linux/fs.h


def begin(descriptor: int, start: int, length: int) -> None:
    """Begin to write a range to disk, without waiting for its end; where that cannot be, nothing.

    No promise of durability (sync_file_range(2)): `fsync` still has to follow.
    """
    call = _early()
    if call is not None:
        call(descriptor, ctypes.c_int64(start), ctypes.c_int64(length), _WRITE)


def sync(folder: str) -> None:
    """Wait until everything on the filesystem of a folder is on its disk (syncfs(2)).

    Raises:
        OSError: something could not be written.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(descriptor)


@cache
def _early() -> Any:
    try:
        return ctypes.CDLL(None, use_errno=True).sync_file_range
    except (OSError, AttributeError):  # no Linux
        return None
