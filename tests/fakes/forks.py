"""Python code in forked children of one process: what is slow to import is imported once.

with Forks("import envforge.forge") as forks:
    done = forks.run("print(sys.argv[1])", "a")        # done.status, done.out, done.err

`env` is all that a child has of variables; `uid` and `groups` make it somebody else's.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

_PR_SET_DUMPABLE = 4  # linux/prctl.h


@dataclass(frozen=True)
class Done:
    """How a child ended."""

    status: int
    """Negative: the signal that killed it."""
    out: str
    err: str


class Forks:
    """The process that forks; `imports` is what it runs first."""

    def __init__(
        self,
        imports: str,
        *,
        python: Path = Path(sys.executable),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [str(python), __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self._ask({"imports": imports, "path": [str(Path(__file__).parents[1])]})

    def run(
        self,
        code: str,
        *arguments: object,
        env: Mapping[str, str] | None = None,
        uid: int | None = None,
        groups: Sequence[int] = (),
    ) -> Done:
        """Run to the end; `uid` is the number of its group, too."""
        job = {
            "code": code,
            "arguments": list(map(str, arguments)),
            "env": dict(os.environ if env is None else env),
            "uid": uid,
            "groups": list(groups),
        }
        return Done(**self._ask(job))

    def _ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()


# --- in the process that forks --------------------------------------------------------------


def _serve() -> None:
    first = json.loads(sys.stdin.readline())
    sys.path[:0] = first["path"]
    exec(first["imports"], {})  # noqa: S102 - a test's
    print("{}", flush=True)
    for line in sys.stdin:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            pid = os.fork()
            if not pid:
                _child(json.loads(line), out, err)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            print(json.dumps({"status": status, "out": _text(out), "err": _text(err)}), flush=True)


def _child(job: dict[str, Any], out: IO[bytes], err: IO[bytes]) -> None:
    status = 1
    try:
        for number, stream in ((1, out), (2, err)):
            os.dup2(stream.fileno(), number)
        if job["uid"] is not None:
            _become(job["uid"], job["groups"])
        os.environ.clear()
        os.environ.update(job["env"])
        sys.argv[1:] = job["arguments"]
        exec(job["code"], {"__name__": "__main__", "sys": sys})  # noqa: S102 - a test's
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - shown to the test
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _become(uid: int, groups: Sequence[int]) -> None:
    os.chdir("/")
    os.setgroups(groups)
    os.setgid(uid)
    os.setuid(uid)
    # Who changes users without starting a program is shut out of its own /proc/self.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "replace")


if __name__ == "__main__":
    _serve()
