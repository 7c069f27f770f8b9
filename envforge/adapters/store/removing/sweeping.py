"""What killed processes and damage leave in a store beside its content, and when it may go."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envforge.cache import layout

_SCRAP: Final = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""How `files.write_text` calls a file until it is whole."""
_WRITTEN_WITHIN: Final = 3600.0
"""Seconds after which nobody can still be writing one, however little is asked to be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweepings:
    """Files that may go, and those that may not yet."""

    scraps: tuple[Path, ...]
    """Small files that were never finished: of the index, of leases, of notes."""
    damaged: tuple[Path, ...]
    """Files with wrong bytes, long enough in quarantine."""
    shown: tuple[Path, ...]
    """Files in quarantine that views still have: removing them would free nothing."""


def sweepings(root: Path, *, now: float, older_than: float) -> Sweepings:
    """Find them.

    Args:
        root: of the store.
        now: by the clock of the store's filesystem.
        older_than: seconds for which nothing must have happened to a file.

    Raises:
        OSError: the store cannot be looked at.
    """
    damaged, shown = list[Path](), list[Path]()
    for path, found in _files(root / layout.QUARANTINE):
        if found.st_nlink > 1:
            shown.append(path)
        elif _age(found, now) >= older_than:
            damaged.append(path)
    scraps = [
        path
        for folder in _written_into(root)
        for path, found in _files(folder)
        if _SCRAP.fullmatch(path.name) and _age(found, now) >= max(older_than, _WRITTEN_WITHIN)
    ]
    return Sweepings(scraps=tuple(scraps), damaged=tuple(damaged), shown=tuple(shown))


def _written_into(root: Path) -> Iterator[Path]:
    """The folders that `files.write_text` writes into."""
    yield root
    yield root / layout.LEASES
    yield root / layout.LOCKS
    yield root / layout.VIEWS / "registry"
    yield from sorted((root / layout.INDEX).glob("??"))


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return  # made when it is first needed
    for entry in entries:
        with suppress(FileNotFoundError):  # finished, or removed meanwhile
            if entry.is_file(follow_symlinks=False):
                yield Path(entry.path), entry.stat(follow_symlinks=False)


def _age(found: os.stat_result, now: float) -> float:
    """Seconds since it was written, or put there: a rename changes ctime."""
    return now - max(found.st_mtime, found.st_ctime)
