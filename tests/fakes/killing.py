"""Ends this process at its N-th change of a disk: `kill -9`, in the middle of whatever it does."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_CHANGES = frozenset({"os.link", "os.symlink", "os.rename", "os.mkdir", "os.remove", "os.rmdir"})


def without_flushing() -> None:
    """Wait for no disk: a kill, unlike a power cut, loses nothing that was written."""
    os.fsync = os.fdatasync = lambda _: None


def kill_at(number: int, below: Path) -> None:
    """From now on count changes of names (audit events), and do not survive the N-th.

    It is killed *before* the change. Opening for writing counts, too, and chown and chmod do not.
    `below`: only changes that name a path below it, or none at all (relative to an open folder).
    """
    seen = 0

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal seen
        opens = event == "open" and isinstance(args[2], int) and args[2] & os.O_CREAT
        if event not in _CHANGES and not opens:
            return
        path = os.fsdecode(args[0]) if isinstance(args[0], (str, bytes, os.PathLike)) else ""
        if path.startswith("/") and not path.startswith(str(below)):
            return
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
