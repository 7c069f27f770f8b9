"""Root at work in the store of somebody else: it writes there as its owner would.

Whoever owns a store can put a symbolic link wherever root is about to write, at any moment. With
their identity for files, root reaches through such a link what they reach themselves, and what it
makes is theirs, so that they can go on with it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

_ASK: Final = -1
"""No user's number: nothing is changed, and the one that counts is told."""


@contextmanager
def acting_as(owner: os.stat_result) -> Iterator[None]:
    """Open, make and remove files as the owner of something; in this thread only (setfsuid(2)).

    Nothing changes for who is not root, and for what is root's.

    Raises:
        PermissionError: this system does not let root be that user.
    """
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    before = _become(owner.st_uid, owner.st_gid)
    try:
        yield
    finally:
        _become(*before)


def _become(uid: int, gid: int) -> tuple[int, int]:
    """Take this identity for files; which one it was."""
    libc = _libc()
    before = libc.setfsuid(_ASK), libc.setfsgid(_ASK)
    libc.setfsgid(gid)
    libc.setfsuid(uid)
    if (libc.setfsuid(_ASK), libc.setfsgid(_ASK)) != (uid, gid):
        libc.setfsuid(before[0])
        libc.setfsgid(before[1])
        raise PermissionError(errno.EPERM, f"cannot work as user {uid}")
    return before


@cache
def _libc() -> Any:
    import ctypes  # takes a few milliseconds, and only root needs it

    return ctypes.CDLL(None)
