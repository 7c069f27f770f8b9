"""Taking the place of a file that people and their programs may replace, or be writing, right now.

Between a look and rename(2) another file can get the name, and a program that has the old one open
goes on writing it after its name is gone. So the two names are exchanged, and only then is looked
at what came out: if it is not what was meant, they are exchanged back.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from functools import cache
from typing import Any, Final

from envforge.adapters.files import open_to_look
from envforge.adapters.store.dedupe.folders import Changed, is_same

_EXCHANGE: Final = 2  # RENAME_EXCHANGE, linux/fs.h
_CANNOT: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""Filesystems without it: NFS, some FUSE ones."""


def take_place(where: int, aside: str, name: str, expected: os.stat_result) -> None:
    """Let `name` be what `aside` is now; what it was is removed.

    Args:
        where: descriptor of the folder of both.
        aside: ours.
        name: to be replaced.
        expected: what it is to be until then.

    Raises:
        Changed: it is something else by now, which has its name back.
        OSError: ETXTBSY where somebody has it open for writing.
    """
    if not _exchange(where, aside, name):
        os.rename(aside, name, src_dir_fd=where, dst_dir_fd=where)
        return
    try:
        _see_that_it_may_go(where, aside, expected)
    except BaseException:
        _give_back(where, aside, name)
        raise
    os.unlink(aside, dir_fd=where)


def _see_that_it_may_go(where: int, name: str, expected: os.stat_result) -> None:
    if not is_same(os.stat(name, dir_fd=where, follow_symlinks=False), expected):
        raise Changed(name)
    if _is_written(where, name):
        raise OSError(errno.ETXTBSY, "is open for writing")


def _give_back(where: int, aside: str, name: str) -> None:
    try:
        _exchange(where, aside, name)
    except FileNotFoundError:  # somebody removed what had the name for that moment
        with suppress(FileExistsError):
            os.link(aside, name, src_dir_fd=where, dst_dir_fd=where, follow_symlinks=False)


def _exchange(where: int, one: str, other: str) -> bool:
    """Exchange two names in one step; False: this filesystem cannot."""
    import ctypes

    status = _libc().renameat2(where, os.fsencode(one), where, os.fsencode(other), _EXCHANGE)
    if status == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), other)


def _is_written(where: int, name: str) -> bool:
    descriptor = open_to_look(name, dir_fd=where)
    try:
        return may_be_written(descriptor) is True
    finally:
        os.close(descriptor)


def may_be_written(descriptor: int) -> bool | None:
    """Whether somebody could change the file through a descriptor or a mapping; None: unknown.

    A read lease is only given where nobody has the file open for writing (`man 2 fcntl`).
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    with suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


@cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)
