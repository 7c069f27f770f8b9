"""Scripts in `bin` whose first line leads elsewhere: signs of an environment that was moved."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from envforge.adapters.files import read_start
from envforge.verify.facts import Layout, Script

SHORTEST_LIMIT: Final = 127
"""Bytes of a first line that every Linux reads; since 5.1 it is 255 (`BINPRM_BUF_SIZE`)."""
_PYTHON: Final = re.compile(r"(python|pypy)[0-9.]*[a-z]?")
_SYSTEM: Final = frozenset({"/", "/usr", "/usr/local", "/opt/homebrew", "/opt/local"})
_OF_A_BUILDER: Final = re.compile(
    r"placehold|feedstock_root|conda-bld|/croot/|build_env|/nix/store/|/gnu/store/"
)
"""Places on the machines that built a package: a slip of the package, nothing was moved."""
_MOST: Final = 5000
_ACTIVATE: Final = re.compile(
    rb"^\s*(?:export\s+)?VIRTUAL_ENV=(?P<quote>['\"]?)(?P<path>/[^'\"$()\n]*)(?P=quote)\s*$",
    re.MULTILINE,
)
_PKGCONFIG: Final = re.compile(rb"^prefix=(?P<path>/[^$\n]*?)\s*$", re.MULTILINE)


def misled(prefix: Path, layout: Layout, interpreter: str | None) -> Iterator[Script]:
    """The scripts that do not start this prefix's own Python; none in a system's `bin`."""
    if layout not in {"conda", "venv"}:
        return
    homes = _Homes(prefix)
    for name in _names(prefix / "bin"):
        try:
            data = read_start(f"{prefix}/bin/{name}", 1024)
        except OSError:
            continue
        found = _judge(data, homes, has_python=interpreter is not None)
        if found is not None:
            program, how = found
            line = data.partition(b"\n")[0]
            yield Script(path=f"bin/{name}", interpreter=program, how=how, length=len(line))


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(names)[:_MOST]


class _Homes:
    """Whether a program is one of the prefix, by whichever spelling of its place."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.spellings = {f"{prefix}/", f"{prefix.resolve()}/"}
        self.same: dict[str, bool] = {}
        self.present: dict[str, bool] = {}

    def holds(self, program: str) -> bool:
        if program.startswith(tuple(self.spellings)):
            return True
        home = os.path.dirname(os.path.dirname(program))  # noqa: PTH120 - text, not files
        if home not in self.same:
            self.same[home] = is_same(home, self.prefix)
        return self.same[home]

    def exists(self, program: str) -> bool:
        if program not in self.present:
            self.present[program] = os.path.exists(program)  # noqa: PTH110
        return self.present[program]


def is_same(path: str, prefix: Path) -> bool:
    """Whether a path leads to the prefix, links and mounts followed."""
    try:
        return os.path.samefile(path, prefix)  # noqa: PTH121
    except (OSError, ValueError):
        return False


def _judge(
    data: bytes, homes: _Homes, *, has_python: bool
) -> tuple[str, Literal["absent", "foreign", "long"]] | None:
    program = program_of(data)
    if program is None:
        return None
    line = data.partition(b"\n")[0]
    if len(line) > SHORTEST_LIMIT:
        return program, "long"
    if not _PYTHON.fullmatch(program.rpartition("/")[2]):
        return None
    if homes.holds(program):
        return (program, "absent") if has_python and not homes.exists(program) else None
    home = os.path.dirname(os.path.dirname(program))  # noqa: PTH120
    if home in _SYSTEM or _OF_A_BUILDER.search(program):
        return None
    return program, "foreign" if homes.exists(program) else "absent"


def program_of(data: bytes) -> str | None:
    """The interpreter of a script's first line, where it is named by its whole path.

    pip and uv start `/bin/sh` where the line would be too long or holds a blank, which then
    starts the interpreter from the second line.
    """
    if not data.startswith(b"#!"):
        return None
    first, second = (*data[2:].split(b"\n", 2), b"", b"")[:2]
    if second.startswith(b"'''exec'"):
        try:
            words = shlex.split(second.decode("utf-8", "replace").removeprefix("'''exec'"))
        except ValueError:
            return None
        return words[0] if words and words[0].startswith("/") else None
    words = first.decode("utf-8", "replace").split()
    return words[0] if words and words[0].startswith("/") else None


def recorded_prefix(prefix: Path, layout: Layout, python: str) -> str | None:
    """Where the environment's own files say that it lies; None: here, or they do not say."""
    if layout == "venv":
        said = _search(_ACTIVATE, f"{prefix}/bin/activate")
    elif layout == "conda" and python:
        series = ".".join(python.split(".")[:2])
        said = _search(_PKGCONFIG, f"{prefix}/lib/pkgconfig/python-{series}.pc")
    else:
        return None
    if said is None or _OF_A_BUILDER.search(said) or said in _SYSTEM:
        return None
    return None if is_same(said, prefix) else said


def _search(pattern: re.Pattern[bytes], path: str) -> str | None:
    try:
        found = pattern.search(read_start(path, 1 << 14))
    except OSError:
        return None
    return found["path"].decode("utf-8", "replace").rstrip("/") if found else None
