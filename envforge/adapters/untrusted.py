"""Listening to a program that may do anything: hang, flood, hide, or leave others behind.

`process.py` starts it; here it is heard, within limits, and ended with all that it started.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Final, Protocol

from envforge.ports import Guard

_MARK: Final = "ENVFORGE_STARTED_BY"
"""A variable by which we know what a program left behind, whatever session that moved to."""
_KEPT_ERRORS: Final = 2**20
"""Bytes of standard error that are kept, the last ones."""
_TO_END: Final = 1.0
"""Seconds that a program has to end after its last sign, and others to let go of its pipes."""
_TO_DIE: Final = 5.0
"""Seconds until a killed process is given up: inside a hung driver call it cannot die."""


class Program(Protocol):
    """What we need of `subprocess.Popen`."""

    pid: int
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    def poll(self) -> int | None:
        """Its status; None: it runs."""

    def kill(self) -> None:
        """End it."""


class Stopped(Exception):
    """A program did not keep to its limits; the text says to which."""


def marked(env: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Variables for a program, and the mark among them that its descendants inherit."""
    mark = uuid.uuid4().hex
    return {**env, _MARK: mark}, f"{_MARK}={mark}"


@contextmanager
def attended(program: Program, mark: str) -> Iterator[Listener]:
    """Listen to a program; when the block ends, it and all that it started have ended."""
    assert program.stdout is not None  # noqa: S101 - `process` asked for pipes
    assert program.stderr is not None  # noqa: S101 - the same
    try:
        with program.stdout, program.stderr:
            yield Listener(program)
    finally:
        _end_all(program, mark)


class Listener:
    """Reads both streams of a program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._out = bytearray()
        self._errors = bytearray()
        self._written = 0

    @property
    def stdout(self) -> str:
        return self._out.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self._errors.decode("utf-8", "replace")

    def status(self) -> int:
        """How it ended; one that said all and then did not end is as good as done."""
        return self._program.poll() or 0

    def listen(self, timeout: float, guard: Guard) -> None:
        """Read until it has ended, or has given its last sign and had time to end.

        Raises:
            Stopped: it passed a limit.
        """
        begun = time.monotonic()
        started, finished = (_Sign(word, self._out) for word in (guard.first_sign, guard.last_sign))
        over: float | None = None
        with _readable(self._program) as pipes:
            while over is None or time.monotonic() < over:
                has_ended = self._program.poll() is not None
                if has_ended and not pipes.get_map():
                    return
                if over is None and (has_ended or finished.is_there()):
                    over = time.monotonic() + _TO_END
                limit = timeout if started.is_there() else min(guard.within, timeout)
                if over is None and time.monotonic() - begun > limit:
                    raise Stopped(f"no answer within {limit:g} s")
                self._read(pipes)
                if self._written > guard.most_output:
                    raise Stopped(f"more than {guard.most_output >> 20} MiB of output")

    def _read(self, pipes: selectors.BaseSelector) -> None:
        if not pipes.get_map():
            time.sleep(0.002)
            return
        for key, _ in pipes.select(0.05):
            chunk = os.read(key.fd, 2**16)
            self._written += len(chunk)
            if not chunk:
                pipes.unregister(key.fileobj)
            elif key.fileobj is self._program.stdout:
                self._out += chunk
            else:
                self._errors += chunk
                del self._errors[:-_KEPT_ERRORS]


class _Sign:
    """A word in what grows; what was searched is not searched again."""

    def __init__(self, word: str, text: bytearray) -> None:
        self._word, self._text = word.encode(), text
        self._at, self._found = 0, False

    def is_there(self) -> bool:
        if not self._found:
            self._found = self._word in self._text[self._at :]
            self._at = max(len(self._text) - len(self._word), 0)
        return self._found


@contextmanager
def _readable(program: Program) -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as pipes:
        for stream in (program.stdout, program.stderr):
            if stream is not None:
                pipes.register(stream, selectors.EVENT_READ)
        yield pipes


def _end_all(program: Program, mark: str) -> None:
    with contextlib.suppress(OSError):  # its group is empty
        os.killpg(program.pid, signal.SIGKILL)
    program.kill()
    limit = time.monotonic() + _TO_DIE
    while program.poll() is None and time.monotonic() < limit:
        time.sleep(0.002)
    end_marked(mark, program.pid)


def end_marked(mark: str, after: int = 0) -> None:
    """End every process that carries the mark and is younger than the process `after`."""
    for _ in range(10):  # one may start others while we look
        left = _descendants(after, mark.encode())
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return
        time.sleep(0.02)


def _descendants(pid: int, mark: bytes) -> list[int]:
    """Processes younger than `pid` that carry the mark; none where there is no `/proc`."""
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - hundreds of names, no Path for each
    except OSError:
        return []
    younger = (int(name) for name in names if name.isdigit() and int(name) > pid)
    return [number for number in younger if _has_mark(number, mark)]


def _has_mark(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:  # noqa: PTH123 - the same
            return mark in stream.read()
    except OSError:  # another's, or gone
        return False
