"""Becomes a program that is watched: puts the filter on, and hands over who answers for it.

Nothing of the program runs before the listener has said so.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from typing import NoReturn

from envforge.adapters.proof import syscalls

READY, FAILED, GO = b"ready", b"failed ", b"go"
"""What is said over the socket."""
NOT_STARTED = 127
"""Exit status, as a shell's, of a program that the system would not start."""


def main(path: str) -> NoReturn:
    """Read what to become from standard input, and meet the listener at the socket `path`."""
    order = json.loads(sys.stdin.readline())
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as talk:
        talk.connect(path)
        _hand_over_listener(talk)
        talk.recv(len(GO))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        os.execve(order["program"], order["command"], order["env"])  # noqa: S606 - no shell
    except OSError as error:
        sys.stderr.write(f"{order['program']}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(NOT_STARTED)


def _hand_over_listener(talk: socket.socket) -> None:
    """By another thread, which the filter does not hold: sending is a call that waits."""
    ready = threading.Event()
    said: list[tuple[bytes, list[int]]] = []

    def send() -> None:
        ready.wait()
        socket.send_fds(talk, [said[0][0]], said[0][1])

    sender = threading.Thread(target=send)
    sender.start()
    try:
        said.append((READY, [syscalls.install(syscalls.this_machine())]))
    except OSError as error:
        said.append((FAILED + str(error).encode(), []))
    ready.set()
    sender.join()
