"""One lock per resource, across processes, that says what it waits for."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from envforge.adapters.files import unusable

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
"""What a lock file holds is replaced: it must not be a link to something else."""
_HELD: Final[set[int]] = set()
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
"""What flock says on filesystems without it (Lustre without `-o flock`, some FUSE ones)."""


@contextmanager
def hold(path: Path, *, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file at `path`, created where it is missing, until the block ends.

    After waiting, look again: whoever held it may have done the work. Works in any thread and is
    interruptible: it asks again and again instead of blocking in the kernel. The kernel frees it
    when this process, and every program it started for the work (`held`), has gone, however it
    went; the file stays.

    Args:
        path: the lock file; its folder is created.
        waiting: told once, with who holds it, where somebody does.

    Raises:
        FileNotUsable: the file cannot be created.
    """
    try:
        descriptor = _acquire(path, waiting)
    except OSError as error:
        raise unusable(path, error) from error
    if descriptor is None:
        with _lease(path.with_name(f"{path.name}.lease"), waiting):
            yield
        return
    _HELD.add(descriptor)
    try:
        yield
    finally:
        _HELD.discard(descriptor)
        os.ftruncate(descriptor, 0)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def held() -> tuple[int, ...]:
    """Descriptors of the locks that are held, for programs that do part of the locked work.

    With them a program goes on holding the lock when we are killed, for the moment until it has
    ended as well: so nobody comes between.
    """
    return tuple(_HELD)


def _acquire(path: Path, waiting: Callable[[str], None]) -> int | None:
    """The descriptor that holds the lock; None: the filesystem knows no locks."""
    pause, told = _FIRST_PAUSE, False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, _FLAGS, 0o666)
        try:
            if _try(descriptor):
                if _is_still(path, descriptor):
                    with suppress(OSError):  # a disk that is full must not keep us from freeing it
                        os.ftruncate(descriptor, 0)
                        os.pwrite(descriptor, _who().encode(), 0)
                    return descriptor
                os.close(descriptor)  # its owner removed the file, and the folder with it
                continue
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                return None
            raise
        holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
        os.close(descriptor)
        if not told:
            waiting(_sentence(path, holder))
            told = True
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _who() -> str:
    return f"process {os.getpid()} on {platform.node()}"


def _sentence(path: Path, holder: str) -> str:
    return f"waiting for {holder or 'another process'}, which holds `{path}`"


@contextmanager
def _lease(path: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """A file that exists while it is held; one of a dead process of this host is taken over."""
    pause, told = _FIRST_PAUSE, False
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            break
        except FileExistsError:
            holder = _read(path)
        except OSError as error:
            raise unusable(path, error) from error
        if _is_dead(holder):
            path.unlink(missing_ok=True)
            continue
        if not told:
            waiting(f"{_sentence(path, holder)}; delete it if that is gone")
            told = True
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    try:
        os.write(descriptor, _who().encode())
        yield
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""


def _is_dead(holder: str) -> bool:
    words = holder.split()
    if len(words) != 4 or words[3] != platform.node() or not words[1].isdigit():
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
