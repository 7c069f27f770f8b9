"""Whether the file that should be a prefix's Python can be started at all, by its first bytes."""

from __future__ import annotations

import os
import platform
import re
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from envforge.adapters.files import read_start
from envforge.adapters.linking.elf_size import is_cut

_PROGRAMS: Final = ("bin/python", "bin/python3", "python.exe", "Scripts/python.exe")
_MACHINES: Final = {
    3: "x86",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    21: "ppc64le",
    243: "riscv64",
}
_MACH_O: Final = frozenset({b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe"})
_SERIES: Final = re.compile(r"python(3\.\d+)t?$")


def interpreter_problem(prefix: Path, sites: Sequence[Path]) -> str:
    """Why the Python of a prefix cannot be started, or not use its packages; empty: it can.

    Args:
        prefix: absolute.
        sites: its folders of packages.
    """
    for name in _PROGRAMS:
        path = prefix / name
        if not os.path.lexists(path):
            continue
        if not os.path.exists(path):  # noqa: PTH110
            return _dangling(path, name)
        return _why_not(path, name) or _other_series(path, prefix, sites)
    return ""


def _dangling(path: Path, name: str) -> str:
    target = os.path.realpath(path)
    if os.path.islink(target):  # noqa: PTH114 - a link that leads to itself
        return f"`{name}` is a link that leads nowhere"
    return f"`{name}` is a link to `{target}`, which does not exist"


def _why_not(path: Path, name: str) -> str:
    if path.is_dir():
        return f"`{name}` is a folder"
    if not os.access(path, os.X_OK):
        return f"`{name}` may not be executed"
    try:
        start = read_start(str(path), 64)
    except OSError as error:
        return "" if isinstance(error, PermissionError) else f"`{name}` cannot be read"
    if start[:4] == b"\x7fELF":
        return _of_elf(path, name, start)
    return _of_another_kind(name, start)


def _of_another_kind(name: str, start: bytes) -> str:
    """A script may stand in for Python; on Windows the loader itself says what is wrong."""
    if not start:
        return f"`{name}` is empty"
    if start[:2] == b"MZ":
        return "" if sys.platform == "win32" else f"`{name}` is a program for Windows"
    if start[:4] in _MACH_O:
        return "" if sys.platform == "darwin" else f"`{name}` is a program for macOS"
    return "" if start[:2] == b"#!" else f"`{name}` is no program"


def _of_elf(path: Path, name: str, start: bytes) -> str:
    if sys.platform != "linux":
        return f"`{name}` is a program for Linux"
    if len(start) < 20 or is_cut(str(path)):
        return f"`{name}` is cut off"
    order = ">" if start[5] == 2 else "<"
    machine = _MACHINES.get(struct.unpack_from(order + "H", start, 18)[0])
    here = platform.machine().lower().replace("arm64", "aarch64")
    runs_here = {here} | ({"x86"} if here == "x86_64" else {"arm"} if here == "aarch64" else set())
    if machine is None or here not in _MACHINES.values() or machine in runs_here:
        return ""
    return f"`{name}` is a program for {machine}, and this machine is {here}"


def _other_series(path: Path, prefix: Path, sites: Sequence[Path]) -> str:
    """A virtual environment whose Python was upgraded looks for packages in another folder."""
    found = _SERIES.fullmatch(os.path.basename(os.path.realpath(path)))  # noqa: PTH119
    kept = [item for site in sites if (item := _SERIES.fullmatch(site.parent.name))]
    if found is None or not kept or not os.path.isfile(prefix / "pyvenv.cfg"):  # noqa: PTH113
        return ""
    if any(item[1] == found[1] for item in kept):
        return ""
    return f"`{path.name}` is Python {found[1]} now, and the packages are for {kept[0][1]}"
