"""An interpreter that runs `around/bench/bench_program.py` and is told what to time."""

from __future__ import annotations

import importlib.resources
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from envforge.adapters.files import reason
from envforge.adapters.process import Child, converse
from envforge.around.bench.bench_answers import Failed, Garbled, failure_of
from envforge.errors import ToolFailed, ToolMissing
from envforge.model.bench import BenchOptions


class BenchChild:
    """Asks, and reads one answer."""

    def __init__(self, child: Child, command: tuple[str, ...]) -> None:
        self._child = child
        self._lines = child.lines()
        self._command = command

    def ask(self, what: str, **given: Any) -> Mapping[str, Any] | Failed:
        """One request.

        Raises:
            ToolFailed: the interpreter ended, or answers what makes no sense.
        """
        self._child.send((json.dumps({"do": what, **given}) + "\n").encode("ascii"))
        line = next(self._lines, None)
        if line is None:
            done = self._child.end()
            raise self.failed(_status(done.status), done.stderr)
        try:
            answer = json.loads(line)
            if not isinstance(answer, dict):
                raise Garbled("it is no object")  # noqa: TRY301 - told like any other
            return failure_of(answer) or answer
        except (ValueError, Garbled) as error:
            raise self.failed(f"its answer makes no sense: {error}", line[-500:]) from error

    def failed(
        self, status: str | int, output: str = "", *, remedy: str | None = None
    ) -> ToolFailed:
        """The error that names this interpreter."""
        return ToolFailed(command=self._command, status=status, output=output, remedy=remedy)


def _status(status: int) -> str | int:
    return f"ended by signal {-status}" if status < 0 else status


@contextmanager
def bench_child(
    interpreter: Path,
    options: BenchOptions,
    *,
    environment: Mapping[str, str],
    timeout: float,
) -> Iterator[BenchChild]:
    """Start an interpreter; it ends with the block.

    Args:
        interpreter: path of the environment's python; `-I` keeps out what is not of its prefix.
        options: what is timed.
        environment: variables to run with, as `envforge run` would set them.
        timeout: seconds for each answer; past it the interpreter ends itself.

    Raises:
        ToolMissing, ToolFailed: it cannot be started.
    """
    script = importlib.resources.files("envforge.around.bench") / "bench_program.py"
    with importlib.resources.as_file(script) as path:
        command = (str(interpreter), "-I", str(path), *_arguments(options, timeout))
        with ExitStack() as stack:
            try:
                child = stack.enter_context(converse(command, env=environment))
            except FileNotFoundError as error:
                remedy = "install the environment"
                raise ToolMissing(tool=command[0], needed_for="`bench`", remedy=remedy) from error
            except OSError as error:  # not executable, or for another machine
                raise ToolFailed(command=command, status=reason(error), output="") from error
            yield BenchChild(child, command)


def _arguments(options: BenchOptions, timeout: float) -> list[str]:
    given = {
        "--device": options.device,
        "--size": options.size,
        "--batch": options.batch,
        "--threads": options.threads,
        "--timeout": timeout,
        "--began": time.monotonic_ns(),
    }
    return [str(part) for pair in given.items() for part in pair]


def forget_pages(path: Path) -> None:
    """Have the next reader of a file read it from its disk (`posix_fadvise(2)`, DONTNEED)."""
    if not hasattr(os, "posix_fadvise"):  # not Linux
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
