"""The kernel's page cache: what of a file is in memory, and how to have it out."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_SAMPLES: Final = 16
_PAGE: Final = 4096
_TRIES: Final = 4
_PAUSE: Final = 0.02
"""Seconds."""


def drop(paths: Iterable[Path]) -> bool:
    """Have files out of memory; whether that worked for all.

    It does not where somebody has them mapped, and on filesystems that live in memory.
    """
    gone = [_drop(path) for path in paths]  # every one is tried
    return all(gone)


def _drop(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with contextlib.suppress(OSError):  # somebody else's, or a read-only filesystem
            os.fdatasync(descriptor)  # what is not on disk yet cannot go
        return any(_dropped(descriptor) for _ in range(_TRIES))
    finally:
        os.close(descriptor)


def _dropped(descriptor: int) -> bool:
    """Once; pages that a processor has just touched are let go a moment later."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    if not _is_cached(descriptor, os.fstat(descriptor).st_size):
        return True
    time.sleep(_PAUSE)
    return False


def _is_cached(descriptor: int, size: int) -> bool:
    """Whether any of some pages can be read without waiting for a disk (`RWF_NOWAIT`)."""
    return any(_is_there(descriptor, offset) for offset in _offsets(size))


def _offsets(size: int) -> Iterator[int]:
    step = max(_PAGE, size // _SAMPLES)
    yield from range(0, size, step)


def _is_there(descriptor: int, offset: int) -> bool:
    try:
        return os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False
    except OSError:  # a filesystem that cannot say
        return True
