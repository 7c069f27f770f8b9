"""Looks at the folders of unpacked packages that users share; nothing is opened or changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from envforge.adapters.store.looking import filesystem
from envforge.around.server.server_facts import PackageCache
from envforge.model.settings import Settings

_MOST: Final = 20_000
"""Entries that are looked at."""
_SHOWN: Final = 5
_OLD: Final = 86_400.0
_HALF: Final = (".partial", ".part", ".tmp")
"""conda's downloads, and extractions of ours."""


def look(settings: Settings) -> tuple[PackageCache, ...]:
    """The one that packages go into, then the others that conda's settings name."""
    folders = dict.fromkeys((settings.package_cache, *settings.conda.pkgs_dirs))
    return tuple(_cache(path, is_ours=path == settings.package_cache) for path in folders)


def _cache(path: Path, *, is_ours: bool) -> PackageCache:
    place = filesystem.place(path)
    entries = list(islice(_entries(path), _MOST)) if place.exists else []
    packages = [item for item in entries if _is_package(item)]
    closed = [item.path for item in packages if not os.access(item.path, os.R_OK | os.X_OK)]
    halves = [item.path for item in entries if item.name.endswith(_HALF) and _is_old(item)]
    return PackageCache(
        place=place,
        is_ours=is_ours,
        is_hidden=not place.exists and not os.access(place.nearest, os.X_OK),
        is_closed=place.exists and not os.access(path, os.R_OK | os.X_OK),
        packages=len(packages),
        closed=tuple(closed[:_SHOWN]),
        closed_count=len(closed),
        foreign_count=sum(_is_foreign(item) for item in packages),
        leftovers=tuple(halves[:_SHOWN]),
        leftover_count=len(halves),
    )


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            yield from sorted(found, key=lambda item: item.name)
    except OSError:  # gone, or closed to us: its mode tells
        return


def _is_package(entry: os.DirEntry[str]) -> bool:
    """`NAME-VERSION-BUILD/`; beside them lie archives, locks and `cache/`."""
    return (
        entry.name.count("-") >= 2
        and not entry.name.startswith(".")
        and entry.is_dir(follow_symlinks=False)
    )


def _is_foreign(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_uid != os.geteuid() and not os.access(
            entry.path, os.W_OK
        )
    except OSError:
        return False


def _is_old(entry: os.DirEntry[str]) -> bool:
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD
    except OSError:
        return False
