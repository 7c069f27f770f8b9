"""Where a prefix of any kind keeps its packages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envforge.adapters.prefix.conda_records import CondaRecords
from envforge.verify.facts import Layout

_SERIES: Final = re.compile(r"(python|pypy)3(\.\d+)?t?")


def layout_of(prefix: Path) -> Layout:
    """What kind of place a directory is."""
    # `os.path`: what may not be entered is not in sight, and no error
    if os.path.isdir(prefix / "conda-meta"):  # noqa: PTH112
        return "conda"
    if os.path.isfile(prefix / "pyvenv.cfg"):  # noqa: PTH113
        return "venv"
    has_python = any(
        os.path.exists(prefix / name)  # noqa: PTH110
        for name in ("bin/python3", "bin/python", "python.exe")
    )
    return "system" if has_python or next(_in_lib(prefix), None) is not None else "none"


def site_folders(
    prefix: Path, given: Path | None, records: CondaRecords, layout: Layout
) -> list[Path]:
    """Every folder of packages that is there, the one that counts most first.

    Args:
        prefix: absolute.
        given: what the interpreter was seen to use, if that is known.
        records: Python's own record may name the place (CEP 17).
        layout: Debian's places count for a system's Python only.
    """
    candidates = [given] if given is not None else []
    if records.site:
        candidates.append(prefix / records.site)
    if records.python:
        series = ".".join(records.python.split(".")[:2])
        candidates.append(prefix / "lib" / f"python{series}" / "site-packages")
    candidates += _in_lib(prefix)
    candidates.append(prefix / "Lib" / "site-packages")  # Windows
    if layout == "system":
        candidates += _of_a_distributor(prefix)
    return list(_unique(candidates))


def _in_lib(prefix: Path) -> Iterator[Path]:
    """`lib64` is Fedora's for compiled packages; elsewhere a link to `lib`."""
    for folder in ("lib", "lib64"):
        for series in _series(prefix / folder):
            yield prefix / folder / series / "site-packages"


def _of_a_distributor(prefix: Path) -> Iterator[Path]:
    for folder in ("local/lib", "lib"):
        for series in _series(prefix / folder):
            yield prefix / folder / series / "dist-packages"


def _series(folder: Path) -> list[str]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - thousands of names
    except OSError:
        return []
    return sorted(
        (name for name in names if _SERIES.fullmatch(name)),
        key=lambda name: [int(part) for part in re.findall(r"\d+", name)],
        reverse=True,
    )


def _unique(folders: list[Path]) -> Iterator[Path]:
    seen: set[str] = set()
    for folder in folders:
        real = os.path.realpath(folder)
        if real not in seen and os.path.isdir(real):  # noqa: PTH112
            seen.add(real)
            yield folder
