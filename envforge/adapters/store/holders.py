"""Who works on something, told in a file's name, and whether they still do."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

_UNKNOWN: Final = "0"
"""The start of a process that could not be looked at."""


def me() -> str:
    """A name for one piece of work of this process: `host-pid-start-nonce`; fit for a file name."""
    return f"{_here()}-{os.getpid()}-{_started(os.getpid())}-{secrets.token_hex(4)}"


def is_gone(name: str) -> bool | None:
    """Whether that process has ended; None: that cannot be told.

    It runs elsewhere, hidden from us (`hidepid` in proc(5)), or this is no such name.
    """
    words = name.split("-")
    if len(words) != 4 or words[0] != _here() or not words[1].isdigit():
        return None
    pid = int(words[1])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's
    started = _started(pid)
    if started == words[2]:
        return False
    return True if started != _UNKNOWN else None  # its number may be another process's by now


@cache
def _here() -> str:
    """This machine, until it is started again, and its process numbers: a container's are its own.

    Names of machines are not enough: those of clones, and of containers, may be equal.
    """
    told = [platform.node()]
    with suppress(OSError):  # no Linux
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii"))
        told.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]


def _started(pid: int) -> str:
    """When the process began, in the kernel's ticks (`man 5 proc_pid_stat`, field 22)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return _UNKNOWN
    return text.rpartition(")")[2].split()[19]
