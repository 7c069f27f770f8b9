"""The version of the machine's C library, read off the file itself; no program is run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from envforge.adapters.files import read_start

_OVERRIDE: Final = "CONDA_OVERRIDE_GLIBC"
_FOLDERS: Final = (
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "lib64",
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib",
    "lib",
)
_VERSION: Final = re.compile(rb"GLIBC_2\.(\d+)\0")
_LIMIT: Final = 16 << 20
_LINKS: Final = 8


def glibc_version(environment: Mapping[str, str], root: Path = Path("/")) -> str | None:
    """`2.36`; None: there is another C library here, or none that can be read.

    `CONDA_OVERRIDE_GLIBC` counts before what is found, as for conda (CEP 30); empty: none.
    """
    if _OVERRIDE in environment:
        return environment[_OVERRIDE] or None
    if root == Path("/"):
        return _own()
    found = (_of_file(root, Path(folder) / "libc.so.6") for folder in _FOLDERS)
    return next(filter(None, found), None)


def _own() -> str | None:
    """What this process runs with, by its own word (confstr, POSIX)."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (OSError, ValueError):  # musl knows no such name
        return None
    return version if name == "glibc" and version else None


def _of_file(root: Path, path: Path) -> str | None:
    """The newest symbol version that a libc.so.6 offers."""
    try:
        data = read_start(str(_followed(root, path)), _LIMIT)
    except OSError:
        return None
    minors = [int(found) for found in _VERSION.findall(data)]
    return f"2.{max(minors)}" if minors else None


def _followed(root: Path, path: Path) -> Path:
    """Where a link leads in that tree, in which an absolute one begins at its root."""
    for _ in range(_LINKS):
        if not (root / path).is_symlink():
            break
        target = os.readlink(root / path)  # noqa: PTH115 - a Path would lose the leading slash
        path = Path(os.path.normpath(f"/{path.parent}/{target}" if target[0] != "/" else target))
        path = path.relative_to("/")
    return root / path
