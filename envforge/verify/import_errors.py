"""What the loader's and Python's words mean, when an import fails."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from envforge.verify.library_names import CUDA_LIBRARY, DRIVER_LIBRARY


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """An import error in plain words."""

    meaning: str
    remedy: str = ""
    """Empty: none that holds everywhere."""


_NOT_FOUND: Final = re.compile(r"(?P<file>[\w.+-]+): cannot open shared object file")
_SYMBOL: Final = re.compile(
    r"(?P<file>\S+): undefined symbol: (?P<symbol>[^\s,]+)(?:, version (?P<version>\S+))?"
)
_VERSION: Final = re.compile(
    r"(?P<file>\S+): version [`'](?P<version>[^']+)' not found \(required by (?P<by>[^)]+)\)"
)
_OTHERS: Final = (
    (
        r"cannot allocate memory in static TLS block",
        "libraries want more room than is left",
        "import torch before the others",
    ),
    (r"cannot enable executable stack", "this C library refuses libraries with that mark", ""),
    (r"file too short|invalid ELF header|ELF load command", "the file is damaged", ""),
    (r"wrong ELF class|Exec format", "the file is for another processor", ""),
    (
        r"failed to map segment|Permission denied",
        "the file may not be executed: permissions, or a disk mounted noexec",
        "",
    ),
    (r"Too many open files", "the limit of open files is reached", "ulimit -n 4096"),
)
_MODULE: Final = re.compile(r"No module named ['\"](?P<name>[\w.]+)['\"]")


def reason_of(message: str) -> Reason | None:
    """The reason in an exception's text; None: not a known one."""
    if found := _VERSION.search(message):
        return Reason(
            meaning=f"{_file(found['by'])} needs {found['version']}, which {found['file']} does not"
            " have: an older copy was loaded",
            remedy="unset LD_LIBRARY_PATH LD_PRELOAD",
        )
    if found := _SYMBOL.search(message):
        of = f" of {found['version']}" if found["version"] else ""
        return Reason(
            meaning=f"{_file(found['file'])} wants {found['symbol']}{of}, which nothing that was"
            " loaded has: libraries of different builds are mixed"
        )
    if found := _NOT_FOUND.search(message):
        return Reason(meaning=f"{found['file']} is not found: {_what(found['file'])}")
    if found := _MODULE.search(message):
        return Reason(meaning=f"the package `{found['name']}` is not installed")
    for pattern, meaning, remedy in _OTHERS:
        if re.search(pattern, message):
            return Reason(meaning=meaning, remedy=remedy)
    return None


def _what(name: str) -> str:
    if DRIVER_LIBRARY.match(name):
        return "it belongs to the GPU driver, which is not in sight"
    if CUDA_LIBRARY.match(name):
        return "the package that brings this CUDA library is missing, or of another CUDA"
    return "it belongs to a package, or to the system, that is not installed"


def _file(path: str) -> str:
    return path.rpartition("/")[2]
