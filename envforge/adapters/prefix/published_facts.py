"""What keeps a published prefix as it was: its markers, and folders that nobody may write."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from envforge.adapters.prefix_reader import read_record
from envforge.adapters.publishing import freezing
from envforge.verify.facts import PublishedFacts

_USUAL: Final = ("", "bin", "conda-meta", "lib")


def read_published(prefix: Path, *, everywhere: bool) -> PublishedFacts | None:
    """None: the prefix was not published."""
    record = read_record(prefix)
    if record is None or not record.published:
        return None
    prefix = prefix.resolve()  # it may be named by the link, whose own mode says nothing
    libraries = freezing.standard_libraries(prefix)
    folders = (
        [folder for folder, _, _ in os.walk(prefix)]
        if everywhere
        else [*(str(prefix / name) for name in _USUAL), *_of_python(libraries)]
    )
    return PublishedFacts(
        frozen=freezing.message_of(prefix) is not None,
        managed=all((folder / freezing.MANAGED).is_file() for folder in libraries),
        open_folders=tuple(
            os.path.relpath(folder, prefix) for folder in sorted(folders) if _is_open(folder)
        ),
    )


def _of_python(libraries: list[Path]) -> list[str]:
    return [str(path) for folder in libraries for path in (folder, folder / "site-packages")]


def _is_open(folder: str) -> bool:
    """Python makes `__pycache__` where root, whom no mode keeps out, imports; others may not."""
    writing = stat.S_IWGRP | stat.S_IWOTH
    if os.path.basename(folder) != "__pycache__":  # noqa: PTH119 - thousands of them
        writing |= stat.S_IWUSR
    try:
        return bool(os.lstat(folder).st_mode & writing)
    except OSError:
        return False
