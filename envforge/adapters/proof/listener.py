"""Answers the calls of a watched program: files pass and are noted, the internet is refused."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import stat
import struct
import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envforge.adapters.proof import calls
from envforge.adapters.proof.calls import Call
from envforge.adapters.proof.syscalls import Machine

_NOTICE: Final = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif
_ANSWER: Final = struct.Struct("=QqiI")  # struct seccomp_notif_resp
_RECEIVE: Final = 0xC0502100
_SEND: Final = 0xC0182101
_CONTINUE: Final = 1
_LOOK_EVERY: Final = 0.02
"""Seconds between two looks at what is mapped."""
_TO_END: Final = 1.0
"""Seconds that children have after the program itself has ended."""
_MOST_LINES: Final = 5000
_OF_A_HUB: Final = re.compile(r"/(models|datasets|spaces|kernels)--[^/]+/(blobs|snapshots)/")
FileId = tuple[int, int]
"""Device and inode."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a program did."""

    status: int = 0
    output: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_LINES))
    """The end of its standard output, in lines."""
    stderr: str = ""
    opened: dict[str, FileId] = field(default_factory=dict)
    """Regular files of interest, by the path they were opened by."""
    mapped: set[FileId] = field(default_factory=set)
    """Those among them that were seen in its memory."""
    calls: list[str] = field(default_factory=list)
    """Internet addresses that it would have talked to; each was refused."""
    seconds: float = 0.0
    """From its first instruction to its end."""


class Listener:
    """One program's; `answer` is to run until that has ended."""

    def __init__(self, descriptor: int, machine: Machine, wanted: Collection[FileId]) -> None:
        self.seen = Seen()
        self._descriptor = descriptor
        self._names = machine.names
        self._wanted = frozenset(wanted)
        self._users: set[int] = set()  # threads that opened a file of interest
        self._looked = 0.0

    def answer(self, has_ended: Callable[[], bool], *, until: float) -> bool:
        """Answer until the program has ended, and what it started had a moment to end, too.

        Returns:
            False where time was up before.
        """
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        left = False
        while True:
            events = poll.poll(_LOOK_EVERY * 1000)
            if any(event & select.POLLHUP for _, event in events):
                return True
            if events:
                self._answer_one()
            now = time.monotonic()
            if now > until:
                return left
            if not left and has_ended():
                left, until = True, min(until, now + _TO_END)
            if now > self._looked + _LOOK_EVERY:
                self._look_at_maps()
                self._looked = now

    def _answer_one(self) -> None:
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self._descriptor, _RECEIVE, notice)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.EINTR}:  # it was killed meanwhile
                return
            raise
        number, thread, _, call, _, _, *arguments = _NOTICE.unpack(notice)
        refused = self._note(
            Call(name=self._names[call], thread=thread, arguments=tuple(arguments))
        )
        answer = (number, 0, -errno.ENETUNREACH, 0) if refused else (number, 0, 0, _CONTINUE)
        with suppress(FileNotFoundError):  # it was killed meanwhile
            fcntl.ioctl(self._descriptor, _SEND, _ANSWER.pack(*answer))

    def _note(self, call: Call) -> bool:
        """Write down what is of interest; whether the call is refused."""
        if call.name == "exit_group":
            self._look_at_maps()
            return False
        try:
            path, address = calls.opened(call), calls.called(call)
        except OSError:  # an address of nothing, or a folder that is gone: the kernel says so
            return False
        if path is not None:
            self._note_file(path, call.thread)
        if address is not None:
            self.seen.calls.append(address)
        return address is not None

    def _note_file(self, path: str, thread: int) -> None:
        try:
            found = os.stat(path)  # noqa: PTH116 - thousands of times while modules are imported
        except (OSError, ValueError):
            return
        identity = (found.st_dev, found.st_ino)
        if not stat.S_ISREG(found.st_mode):
            return
        if identity in self._wanted or _OF_A_HUB.search(path):
            self.seen.opened[path] = identity
            self._users.add(thread)

    def _look_at_maps(self) -> None:
        for thread in tuple(self._users):
            try:
                text = Path(f"/proc/{thread}/maps").read_text(encoding="utf-8", errors="replace")
            except OSError:
                self._users.discard(thread)
                continue
            self._note_maps(text)

    def _note_maps(self, text: str) -> None:
        """By path: the device that is shown there is not always the one of stat(2)."""
        for path in {line.split(maxsplit=5)[5] for line in text.splitlines() if "/" in line}:
            with suppress(OSError):
                found = os.stat(path)  # noqa: PTH116 - as above
                if (found.st_dev, found.st_ino) in self._wanted:
                    self.seen.mapped.add((found.st_dev, found.st_ino))
