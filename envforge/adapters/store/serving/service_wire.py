"""How a service of views and those who ask it talk: JSON and descriptors over a Unix socket.

A message is its length in four bytes and that much JSON. A descriptor travels with the length
(SCM_RIGHTS, unix(7)): it names a folder without a path, so nothing on the way to it can be swapped.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import pwd
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SOCKET: Final = "serve.sock"
"""In the store's root, which only its owner can write."""
VERSION: Final = 1
MOST: Final = 16 << 20
"""Bytes of one message: a view of 200,000 files."""
_LENGTH: Final = struct.Struct("!I")
_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid
_PEER_GROUPS: Final = 59  # SO_PEERGROUPS, asm-generic/socket.h; since Linux 4.13
_MOST_GROUPS: Final = 1024
"""Bytes, four for a group: the most that Python takes from getsockopt."""
_UNMAPPED: Final = 65534
"""What a user of another user namespace looks like who is nobody in ours."""


class Garbled(Exception):
    """What came is no message; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end, as the kernel says."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int]

    @property
    def is_known(self) -> bool:
        """Whether it is a user of this machine and not an unmapped one of some container."""
        return self.uid != _UNMAPPED


@dataclass(slots=True)
class Message:
    """What came."""

    content: Mapping[str, Any]
    descriptors: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Give the descriptors back."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def peer_of(connection: socket.socket) -> Peer:
    """Who connected."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(packed)
    return Peer(pid=pid, uid=uid, gid=gid, groups=frozenset([gid, *_groups(connection, uid, gid)]))


def _groups(connection: socket.socket, uid: int, gid: int) -> list[int]:
    """The other end's groups as it has them; of too many, those that it gets at login."""
    groups = array.array("I")
    try:
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, _PEER_GROUPS, _MOST_GROUPS))
    except OSError as error:
        if error.errno not in {errno.ENOPROTOOPT, errno.ERANGE}:
            raise
        with contextlib.suppress(KeyError):
            return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    return list(groups)


def send(connection: socket.socket, content: Mapping[str, Any], descriptor: int = -1) -> None:
    """Send one message, with an open folder where one is given.

    Raises:
        OSError: the other end has gone.
    """
    data = json.dumps(content).encode("utf-8", "surrogateescape")
    length = _LENGTH.pack(len(data))
    socket.send_fds(connection, [length], [descriptor] if descriptor >= 0 else [])
    connection.sendall(data)


def receive(connection: socket.socket) -> Message | None:
    """The next message; None: the other end has closed.

    Raises:
        Garbled: it is none, or too long.
        OSError: the other end has gone, or says nothing for too long (TimeoutError).
    """
    length, descriptors, flags, _ = socket.recv_fds(
        connection, _LENGTH.size, 1, socket.MSG_CMSG_CLOEXEC
    )
    message = Message({}, list(descriptors))
    try:
        if not length:
            message.close()
            return None
        _refuse_cut(flags)
        length += _exactly(connection, _LENGTH.size - len(length))
        message.content = _content(connection, _LENGTH.unpack(length)[0])
    except BaseException:
        message.close()
        raise
    return message


def _refuse_cut(flags: int) -> None:
    if flags & socket.MSG_CTRUNC:
        raise Garbled("more than one descriptor")


def _content(connection: socket.socket, size: int) -> Mapping[str, Any]:
    if size > MOST:
        raise Garbled(f"{size} bytes, and {MOST} are the most")
    try:
        content = json.loads(_exactly(connection, size).decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise Garbled("no JSON") from error
    if not isinstance(content, dict):
        raise Garbled("no object")
    return content


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()  # bytes would be copied with every piece, however small a peer makes them
    while len(data) < size:
        more = connection.recv(min(size - len(data), 1 << 16))
        if not more:
            raise Garbled("it ends in the middle")
        data += more
    return bytes(data)


@contextlib.contextmanager
def address(root: Path) -> Iterator[str]:
    """A name of the socket that fits into 108 bytes, however long the store's path is."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)
