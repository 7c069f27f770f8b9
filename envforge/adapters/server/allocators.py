"""Asks programs what their allocator holds: those that were started by `envforge gpu -- CMD`."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any, Final

from envforge.model.gpu_memory import AllocatorMemory

_PATIENCE: Final = 2.0
"""Seconds: a program that is inside one long call into C cannot answer."""
_LARGEST: Final = 1 << 20
_MOST_BYTES: Final = 1 << 60
"""And of counts; no device holds so much."""
_AT_ONCE: Final = 32
_SHOWN: Final = 200
_ADDRESS: Final = "\0envforge-allocator-%d"
_SCHEMA: Final = "envforge.allocator/1"
NOT_WATCHED: Final = "it was not started by `envforge gpu -- CMD`"


def ask_all(
    owners: Mapping[int, int],
) -> dict[int, tuple[AllocatorMemory, ...] | str]:
    """Ask many, whose users are given by process; those that let us wait do so side by side."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(owners, pool.map(ask, owners, owners.values()), strict=True))


def ask(pid: int, uid: int) -> tuple[AllocatorMemory, ...] | str:
    """What it holds on each of its devices, or why it does not tell.

    Args:
        pid: the process.
        uid: whose it is: an answer of anybody else is none.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(_ADDRESS % pid)
            if _peer(connection) != (pid, uid):
                return "another process answered in its place"
            return _read(_received(connection))
        except ConnectionRefusedError:
            return NOT_WATCHED
        except (TimeoutError, BlockingIOError):  # BlockingIOError: many wait there already
            return f"it did not answer within {_PATIENCE:g} s"
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            return f"its answer cannot be read: {error}"[:_SHOWN]


def _peer(connection: socket.socket) -> tuple[int, int]:
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", told)
    return pid, uid


def _received(connection: socket.socket) -> bytes:
    told, limit = b"", time.monotonic() + _PATIENCE
    while chunk := connection.recv(1 << 16):
        told += chunk
        if len(told) > _LARGEST:
            raise ValueError("it is too long")
        left = limit - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
    return told


def _read(told: bytes) -> tuple[AllocatorMemory, ...] | str:
    if not told:
        return "it tells its own user only"
    document = json.loads(told)
    if document["schema"] != _SCHEMA:
        return "it was started by another version of envforge"
    return tuple(_device(item) for item in document["devices"])


def _device(item: Mapping[str, Any]) -> AllocatorMemory:
    numbers = ("allocated", "reserved", "releasable", "peak_allocated", "peak_reserved")
    counts = {key: _count(item[key]) for key in (*numbers, "retries", "segments")}
    uuid = item.get("uuid")
    return AllocatorMemory(device=_count(item["device"]), uuid=str(uuid) if uuid else "", **counts)


def _count(value: Any) -> int:
    """A program of anybody's may tell anything."""
    if type(value) is not int or not 0 <= value <= _MOST_BYTES:
        raise ValueError("a number is none")
    return value


def watched(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables under which a program tells what its allocator holds."""
    folder = resources.files("envforge.adapters.server") / "allocator_hook"
    others = [item for item in environment.get("PYTHONPATH", "").split(os.pathsep) if item]
    mine = str(Path(str(folder)))
    listed = [mine, *(item for item in others if item != mine)]
    return {**environment, "PYTHONPATH": os.pathsep.join(listed)}
