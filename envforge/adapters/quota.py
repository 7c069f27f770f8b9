"""What the user's disk quota has left, asked of the kernel."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final


class _Quota(ctypes.Structure):
    """`struct if_dqblk`, linux/quota.h: limits in blocks of 1024 bytes, 0 for none."""

    _fields_ = (
        ("block_hard", ctypes.c_uint64),
        ("block_soft", ctypes.c_uint64),
        ("bytes_used", ctypes.c_uint64),
        ("files_hard", ctypes.c_uint64),
        ("files_soft", ctypes.c_uint64),
        ("files_used", ctypes.c_uint64),
        ("block_time", ctypes.c_uint64),
        ("files_time", ctypes.c_uint64),
        ("valid", ctypes.c_uint32),
    )


_GET_USER_QUOTA: Final = 0x80000700  # QCMD(Q_GETQUOTA, USRQUOTA), linux/quota.h
_BLOCK: Final = 1024


def quota(device: int) -> tuple[int | None, int | None]:
    """Bytes and files that the user's quota on a device has left; None: no limit, or none seen.

    Best effort: local filesystems only. Quotas of NFS servers, of groups and of projects are not
    seen, and a write beyond them fails as on a full disk.
    """
    source = _source(device)
    if source is None:
        return None, None
    found = _Quota()
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        status = libc.quotactl(
            ctypes.c_int(_GET_USER_QUOTA - (1 << 32)),
            source.encode(),
            os.getuid(),
            ctypes.byref(found),
        )
    except (OSError, AttributeError):
        return None, None
    return remaining(found) if status == 0 else (None, None)


def remaining(found: _Quota) -> tuple[int | None, int | None]:
    """What is left below the tighter of soft and hard limit."""
    blocks = [limit for limit in (found.block_soft, found.block_hard) if limit]
    files = [limit for limit in (found.files_soft, found.files_hard) if limit]
    return (
        max(0, min(blocks) * _BLOCK - found.bytes_used) if blocks else None,
        max(0, min(files) - found.files_used) if files else None,
    )


def _source(device: int) -> str | None:
    """The block device of a `st_dev`, as the kernel lists it."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()
        if words[2] == wanted:
            source = words[words.index("-") + 2]
            return source if source.startswith("/dev/") else None
    return None
