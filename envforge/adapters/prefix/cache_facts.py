"""Package caches: is what lies unpacked there whole?

A package's own manifest is `info/paths.json`; conda and rattler link its files into environments,
so that one damaged file damages every environment that is made from then on.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from envforge.adapters import package_cache
from envforge.adapters.files import read_start
from envforge.formats.text import json_text
from envforge.model.lock import LockedPackage
from envforge.verify.facts import CacheDamage

_SHOWN: Final = 5
_ARCHIVES: Final = (".conda", ".tar.bz2")


def folders(
    caches: Sequence[Path], locked: Iterable[LockedPackage], unpacked: Iterable[str]
) -> list[str]:
    """The unpacked packages that count: of the lock in these caches, and what was linked from."""
    stems = [package_cache.stem(item) for item in locked if item.manager == "conda"]
    named = [f"{cache}/{stem}" for cache in caches for stem in stems]
    unique = dict.fromkeys([*named, *unpacked])
    return [path for path in unique if path.startswith("/") and os.path.isdir(path)]  # noqa: PTH112


def damaged(unpacked: Iterable[str], *, hashes: bool = False) -> Iterator[CacheDamage]:
    """Those whose files are not as their manifest says; what is being unpacked now is left out."""
    for folder in unpacked:
        if _in_use(folder):
            continue
        problems = list(_problems(folder, hashes=hashes))
        if problems:
            yield CacheDamage(folder=folder, problems=tuple(problems[:_SHOWN]), count=len(problems))


def _in_use(folder: str) -> bool:
    """Whether rattler, or another of us, holds the lock on the package."""
    try:
        descriptor = os.open(f"{folder}.lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _problems(folder: str, *, hashes: bool) -> Iterator[str]:
    yield from _archive_problems(folder)
    try:
        listed = _manifest(folder)
    except PermissionError:
        return
    except FileNotFoundError:
        if not os.path.exists(f"{folder}/info/index.json"):  # noqa: PTH110
            yield "info/index.json: gone"
        return  # packages of before 2017 have no manifest
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        yield "info/paths.json: cannot be read"
        return
    for item in listed:
        problem = _problem(folder, item, hashes=hashes)
        if problem:
            yield problem


def _manifest(folder: str) -> list[dict[str, Any]]:
    listed = json_text.parse(read_start(f"{folder}/info/paths.json"))["paths"]
    names = (item for item in listed if isinstance(item.get("_path"), str))
    return [item for item in names if not item["_path"].endswith(".pyc")]


def _problem(folder: str, item: dict[str, Any], *, hashes: bool) -> str | None:
    path = f"{folder}/{item['_path']}"
    try:
        found = os.lstat(path)
    except PermissionError:
        return None
    except (OSError, ValueError):
        return f"{item['_path']}: gone"
    size = item.get("size_in_bytes")
    plain = item.get("path_type", "hardlink") == "hardlink" and stat.S_ISREG(found.st_mode)
    if not plain or size is None:
        return None
    if found.st_size != size:
        return f"{item['_path']}: {found.st_size} of {size} bytes"
    if hashes and item.get("sha256") and digest_of(path) not in {None, item["sha256"]}:
        return f"{item['_path']}: other content"
    return None


def _archive_problems(folder: str) -> Iterator[str]:
    """The archive beside it, if the cache keeps archives and the record knows its size."""
    present = [
        (path, os.stat(path).st_size)  # noqa: PTH116
        for path in (f"{folder}{ending}" for ending in _ARCHIVES)
        if os.path.isfile(path)  # noqa: PTH113
    ]
    if not present:
        return
    try:
        record = json_text.parse(read_start(f"{folder}/info/repodata_record.json"))
        name, size = str(record.get("fn") or ""), record.get("size")
    except (OSError, ValueError, AttributeError):
        return
    for path, found in present:
        if path.endswith(f"/{name}") and isinstance(size, int) and found < size:
            yield f"{name}: {found} of {size} bytes"


def digest_of(path: str) -> str | None:
    """SHA-256 of a file in hexadecimal; None: it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()
