"""What a call that waits is about, read out of the memory of who made it."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_AT_FDCWD: Final = 0xFFFFFF9C
_PATH_MAX: Final = 4096
_OPEN_PATH: Final = {"open": 0, "openat": 1, "openat2": 1}
"""Which argument is the path."""
_POINTER: Final = struct.Struct("=QI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One system call, which waits."""

    name: str
    thread: int
    arguments: tuple[int, ...]


def opened(call: Call) -> str | None:
    """The absolute path that it opens, symlinks not followed; None: another kind of call."""
    position = _OPEN_PATH.get(call.name)
    if position is None:
        return None
    path = os.fsdecode(_memory(call.thread, call.arguments[position], _PATH_MAX).split(b"\0")[0])
    if path.startswith("/"):
        return path
    folder = 0xFFFFFFFF & call.arguments[0] if position else _AT_FDCWD
    place = "cwd" if folder == _AT_FDCWD else f"fd/{folder}"
    return str(Path(f"/proc/{call.thread}/{place}").readlink() / path)


def called(call: Call) -> str | None:
    """The internet address that it would talk to, `10.0.0.1:443`; None: none, or a local one."""
    address = _address(call)
    if len(address) < 2:
        return None
    family = int.from_bytes(address[:2], "little")
    port = int.from_bytes(address[2:4], "big")
    if family == socket.AF_INET:
        return f"{ipaddress.IPv4Address(address[4:8])}:{port}"
    if family == socket.AF_INET6:
        return f"[{ipaddress.IPv6Address(address[8:24])}]:{port}"
    return None


def _address(call: Call) -> bytes:
    """The `struct sockaddr` in its arguments; empty where there is none."""
    if call.name == "connect":
        return _memory(call.thread, call.arguments[1], min(call.arguments[2], 28))
    if call.name == "sendto":
        return _memory(call.thread, call.arguments[4], min(call.arguments[5], 28))
    if call.name in {"sendmsg", "sendmmsg"}:  # both begin with a struct msghdr
        pointer, size = _POINTER.unpack(
            _memory(call.thread, call.arguments[1], _POINTER.size).ljust(_POINTER.size, b"\0")
        )
        return _memory(call.thread, pointer, min(size, 28)) if pointer else b""
    return b""


def _memory(thread: int, address: int, size: int) -> bytes:
    """Bytes from there on; fewer where the mapping ends.

    Raises:
        OSError: the process is gone, or may not be looked into.
    """
    descriptor = os.open(f"/proc/{thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, size, address)
    finally:
        os.close(descriptor)
