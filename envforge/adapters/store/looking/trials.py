"""What a disk can, by trying it with small files that are removed again."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from envforge.adapters.files import open_to_look
from envforge.adapters.store import copying
from envforge.cache.disk_facts import Trials

_BLOCK: Final = 1 << 20
_SAMPLE: Final = 64 << 20
"""Bytes that are read to learn the speed."""
_PATIENCE: Final = 3.0
"""Seconds that reading them may take."""
_YEAR: Final = 365 * 86400.0


def try_out(folder: Path, views: Path, *, speed: bool, sample: Path | None) -> Trials:
    """Try everything that can be tried.

    Args:
        folder: in the store, or where it will be; a folder is made in it and removed.
        views: the same for views.
        speed: whether to measure how quick reading is.
        sample: a large file that is there; None: one is written, where there is room.
    """
    with contextlib.ExitStack() as stack:
        try:
            here = stack.enter_context(_scratch(folder))
        except OSError:
            return Trials(read_rate=_rate(sample) if speed and sample else None)
        try:
            there = stack.enter_context(_scratch(views))
        except OSError:
            there = None
        file = here / "file"
        made = time.time()
        file.write_bytes(b"x")
        found = file.stat()
        return Trials(
            hardlink=_said(lambda: os.link(file, here / "link")),
            to_views=_said(lambda: os.link(file, there / "link")) if there else None,
            reflink=_said(lambda: _reflink(file, (there or here) / "clone")),
            flock=_flock(here / "lock"),
            owner_kept=found.st_uid == os.geteuid(),
            mode_kept=_keeps_mode(file),
            read_noted=_notes_reading(here / "read"),
            clock_ahead=found.st_mtime - made,
            read_rate=_speed(here, sample) if speed else None,
        )


def _reflink(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("xb") as new:
        copying.reflink(old.fileno(), new.fileno())


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    from shutil import rmtree

    made = folder / f".envforge-doctor-{os.getpid()}-{secrets.token_hex(4)}"
    made.mkdir(mode=0o700)
    try:
        yield made
    finally:
        rmtree(made, ignore_errors=True)


def _said(call: Callable[[], None]) -> str:
    try:
        call()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


def _flock(path: Path) -> str:
    """Two descriptors that were opened apart exclude each other, as two processes do."""
    path.touch()
    with path.open("rb") as first, path.open("rb") as second:
        said = _said(lambda: fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB))
        if said:
            return said
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return ""
    return "nothing"


def _keeps_mode(file: Path) -> bool:
    file.chmod(0o444)
    return stat.S_IMODE(file.stat().st_mode) == 0o444


def _notes_reading(file: Path) -> bool:
    """With an access time of long ago, every kind of atime but noatime moves it."""
    file.write_bytes(b"x")
    now = time.time()
    os.utime(file, (now - _YEAR, now))
    before = file.stat().st_atime
    file.read_bytes()
    return file.stat().st_atime > before


def _speed(here: Path, sample: Path | None) -> float | None:
    if sample is not None:
        return _rate(sample)
    free = os.statvfs(here)
    if free.f_bavail * free.f_frsize < 4 * _SAMPLE:
        return None
    written = here / "sample"
    block = os.urandom(_BLOCK)  # a filesystem that compresses shall not win
    with written.open("wb") as stream:
        for _ in range(_SAMPLE // _BLOCK):
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())
    return _rate(written)


def _rate(file: Path) -> float | None:
    """Bytes per second, after the kernel was told to forget the file."""
    try:
        descriptor = open_to_look(str(file))
    except OSError:
        return None
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        began, done = time.monotonic(), 0
        while done < _SAMPLE and time.monotonic() - began < _PATIENCE:
            data = os.read(descriptor, _BLOCK)
            if not data:
                break
            done += len(data)
        took = time.monotonic() - began
    finally:
        os.close(descriptor)
    return done / took if done and took > 0 else None
