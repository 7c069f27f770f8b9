"""Starting programs. The only module that imports subprocess."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

from envforge.adapters.locking import held
from envforge.adapters.untrusted import Listener, Stopped, attended, end_marked, marked
from envforge.errors import ToolFailed, ToolMissing
from envforge.ports import Completed, Guard

_LOG = logging.getLogger(__name__)


class RealProcesses:
    """`ports.Processes` on this machine."""

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        timeout: float | None,
        cwd: Path | None = None,
        stdin: str | None = None,
        check: bool = True,
        guard: Guard | None = None,
    ) -> Completed:
        """See `ports.Processes.run`."""
        _LOG.debug("run %s", list(command))
        if guard is not None and timeout is not None:
            return _run_guarded(command, env, timeout, guard)
        try:
            done = subprocess.run(  # noqa: S603 - a list of arguments, never a shell
                list(command),
                env=dict(env),
                timeout=timeout,
                cwd=cwd,
                input=None if stdin is None else stdin.encode("utf-8", "replace"),
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,  # bytes: as text, a `\r` in a value would come back as `\n`
                check=False,
                pass_fds=held(),
            )
        except FileNotFoundError as error:
            if cwd is not None and not cwd.is_dir():
                raise
            raise ToolMissing(
                tool=command[0], needed_for="this step", remedy="install it, or check `PATH`"
            ) from error
        except OSError as error:  # not executable, or for another machine
            raise _not_started(command, error) from error
        except subprocess.TimeoutExpired as error:
            output = error.stderr or ""
            if isinstance(output, bytes):
                output = output.decode("utf-8", "replace")
            raise ToolFailed(
                command=tuple(command), status=f"no answer within {timeout:g} s", output=output
            ) from error
        stdout, stderr = (part.decode("utf-8", "replace") for part in (done.stdout, done.stderr))
        if check and done.returncode != 0:
            raise ToolFailed(
                command=tuple(command), status=done.returncode, output=stderr or stdout
            )
        return Completed(status=done.returncode, stdout=stdout, stderr=stderr)


def _run_guarded(
    command: Sequence[str], env: Mapping[str, str], timeout: float, guard: Guard
) -> Completed:
    """Run a program that nobody vouches for; neither it nor what it starts outlives this."""
    variables, mark = marked(env)
    try:
        with attended(_start_guarded(command, variables), mark) as listener:
            return _listened(command, listener, timeout, guard)
    except KeyboardInterrupt:  # one that came while it was started: nobody attends to it yet
        end_marked(mark)
        raise


def _start_guarded(command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - a list of arguments, never a shell
            list(command),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise ToolMissing(
            tool=command[0], needed_for="this step", remedy="install it, or check `PATH`"
        ) from error
    except OSError as error:  # not executable, or for another machine
        raise _not_started(command, error) from error


def _listened(
    command: Sequence[str], listener: Listener, timeout: float, guard: Guard
) -> Completed:
    try:
        listener.listen(timeout, guard)
    except Stopped as why:
        raise ToolFailed(command=tuple(command), status=str(why), output=listener.stderr) from None
    status = listener.status()
    return Completed(status=status, stdout=listener.stdout, stderr=listener.stderr)


class Child:
    """A program that is talked with while it runs: bytes in, lines out."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors

    def send(self, data: bytes) -> None:
        """Write to its standard input, which stays open; a child that is gone takes nothing."""
        assert self._process.stdin is not None  # noqa: S101 - `converse` asked for a pipe
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError:
            _LOG.debug("child %d does not read", self._process.pid)

    def lines(self) -> Iterator[str]:
        """What it writes to standard output, until it closes that."""
        assert self._process.stdout is not None  # noqa: S101 - `converse` asked for a pipe
        for line in self._process.stdout:
            yield line.decode("utf-8", "replace")

    @property
    def has_ended(self) -> bool:
        """Whether it has; what it started may go on."""
        return self._process.poll() is not None

    def end(self) -> Completed:
        """Wait for it; its standard output was read by `lines`."""
        status = self._process.wait()
        self._errors.seek(0)
        stderr = self._errors.read().decode("utf-8", "replace")
        return Completed(status=status, stdout="", stderr=stderr)


@contextmanager
def converse(command: Sequence[str], *, env: Mapping[str, str]) -> Iterator[Child]:
    """Start a program and talk with it; it is killed when the block ends before it does.

    The program sees the end of its standard input when this process goes, however it goes.
    """
    _LOG.debug("start %s", list(command))
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603 - a list of arguments, never a shell
            list(command),
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=held(),
        ) as process,
    ):
        try:
            yield Child(process, errors)
        except BaseException:
            process.kill()
            raise


def start_detached(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, stdin: IO[bytes]
) -> None:
    """Start a program that may outlive this process; nothing of its output is kept."""
    _LOG.debug("start, detached, %s", list(command))
    process = subprocess.Popen(  # noqa: S603 - a list of arguments, never a shell
        list(command),
        env=dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # Collects the status, so that a process that goes on for long keeps no zombie.
    threading.Thread(target=process.wait, daemon=True).start()


def become(program: str, command: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Replace this process: signals, terminal and exit status are the program's own.

    Raises:
        ToolFailed: the system cannot start it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(program, list(command), dict(env))  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise _not_started(command, error) from error


def _not_started(command: Sequence[str], error: OSError) -> ToolFailed:
    remedy = "a script needs `#!` and its interpreter in the first line"
    return ToolFailed(
        command=tuple(command),
        status=(error.strerror or str(error)).lower(),
        output="",
        remedy=remedy if error.errno == errno.ENOEXEC else None,
    )
