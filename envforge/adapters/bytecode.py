"""Byte-compiles what conda would have compiled: modules of noarch packages, and wheels.

py-rattler and (as we call it) uv compile nothing, and compiling everything takes longer than the
whole rest of an install from caches. So it is done by a process of the lowest priority that stays
behind, or on the spot where that was asked for. Python itself compiles what is imported earlier.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from packaging.utils import canonicalize_name

from envforge.adapters import prefix_reader
from envforge.adapters.process import start_detached
from envforge.model.lock import LockedPackage
from envforge.ports import Processes

# Runs in the environment's interpreter, 3.6 or newer. Its working directory is the prefix and all
# names are relative to it, so that when the prefix is removed meanwhile it cannot make folders at
# the old place; and then it ends. A module that does not compile is left alone, as
# pip and conda do: packages ship templates and code for other Pythons.
_PROGRAM: Final = """
import importlib.util, os, py_compile, sys
workers, root, niceness = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
names = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\\0")
os.nice(niceness)
children = []
share = 0
for number in range(1, workers):
    child = os.fork()
    if not child:
        share, children = number, []
        break
    children.append(child)
def is_current(source, target):
    try:
        with open(target, "rb") as stream:
            head = stream.read(16)
        found = os.stat(source)
    except OSError:
        return False
    if len(head) < 16 or head[:4] != importlib.util.MAGIC_NUMBER:
        return False
    if int.from_bytes(head[4:8], "little"):
        return True
    stamp = (int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF)
    return stamp == (int.from_bytes(head[8:12], "little"), int.from_bytes(head[12:16], "little"))
for name in names[share::workers]:
    try:
        if not os.path.samefile(root, "."):
            break
        target = importlib.util.cache_from_source(name)
        if name and not is_current(name, target):
            mode = py_compile.PycInvalidationMode.TIMESTAMP
            py_compile.compile(name, target, os.path.join(root, name), doraise=True,
                               invalidation_mode=mode)
    except (py_compile.PyCompileError, OSError, ValueError, RecursionError):
        continue
if share:
    os._exit(0)
for child in children:
    os.waitpid(child, 0)
"""
_BACKGROUND_NICENESS: Final = 19
_BACKGROUND_WORKERS: Final = 1


@dataclass(frozen=True, slots=True)
class EnvironmentCompiler:
    """`ports.BytecodeCompiler` with the environment's own interpreter."""

    processes: Processes
    workers: int
    """Processes at once where somebody waits; one does in the background."""

    def compile(
        self, prefix: Path, packages: Sequence[LockedPackage], *, wait: bool
    ) -> Literal["compiled", "background", "skipped"]:
        """See `ports.BytecodeCompiler.compile`.

        Raises:
            ToolFailed: the interpreter does not run; only where `wait`.
        """
        python = prefix / "bin" / "python"
        modules = _modules(prefix, packages)
        if not modules or not python.exists():
            return "skipped"
        names = "\0".join(modules)
        if wait:
            command = _command(python, prefix, self.workers, 0)
            self.processes.run(command, env={}, timeout=3600, cwd=prefix, stdin=names)
            return "compiled"
        with _spooled(names) as stdin:
            command = _command(python, prefix, _BACKGROUND_WORKERS, _BACKGROUND_NICENESS)
            start_detached(command, env={}, cwd=prefix, stdin=stdin)
        return "background"


def _modules(prefix: Path, packages: Sequence[LockedPackage]) -> tuple[str, ...]:
    noarchs = (item for item in packages if item.manager == "conda" and item.subdir == "noarch")
    conda = frozenset(item.name for item in noarchs)
    wheels = frozenset(canonicalize_name(item.name) for item in packages if item.manager == "pip")
    noarch = prefix_reader.noarch_modules(prefix, conda) if conda else ()
    return (*noarch, *(prefix_reader.wheel_modules(prefix, wheels) if wheels else ()))


def _command(python: Path, prefix: Path, workers: int, niceness: int) -> list[str]:
    # -B: what the program itself imports would be compiled under the prefix's name, which brings
    # a folder back that was removed meanwhile.
    flags = ("-I", "-S", "-B")
    return [str(python), *flags, "-c", _PROGRAM, str(workers), str(prefix), str(niceness)]


def _spooled(text: str) -> IO[bytes]:
    """A nameless file to read from: a pipe would have us wait for the reader."""
    stream = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller's `with`
    stream.write(text.encode("utf-8", "surrogateescape"))
    stream.seek(0)
    return stream
