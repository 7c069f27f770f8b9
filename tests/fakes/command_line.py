"""`envforge` called in this process, with its streams apart."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from typing import Any, Protocol

from click.testing import CliRunner

from envforge.cli import cli


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Run(Protocol):
    """Calls a command; `stdin` is typed, `color` says that the streams can carry it."""

    def __call__(
        self, *arguments: str, stdin: str | None = None, color: bool = False, **env: str | None
    ) -> Done: ...


def run_envforge(
    *arguments: str, stdin: str | None = None, color: bool = False, **env: str | None
) -> Done:
    """See `Run`; what is no exit but an exception is raised here."""
    # click 8.1 mixes both streams unless told not to, and 8.2 always keeps them apart.
    mixes = "mix_stderr" in inspect.signature(CliRunner).parameters
    runner = CliRunner(**({"mix_stderr": False} if mixes else {}))
    done = runner.invoke(cli, arguments, input=stdin, env=env, color=color)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)
