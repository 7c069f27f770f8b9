"""Gives names that became links a file of their own again, as the journal remembers it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from envforge.adapters.store import copying
from envforge.adapters.store.dedupe.crew import Crew
from envforge.adapters.store.dedupe.folders import Changed, Folders, why
from envforge.adapters.store.dedupe.found import LEFTOVER
from envforge.adapters.store.dedupe.journal import Linked, Replaced
from envforge.adapters.store.dedupe.reading import Reader
from envforge.adapters.store.dedupe.replacing import aside_name
from envforge.adapters.store.trees.folders import READ, WRITE_NEW
from envforge.cache.dedupe_plan import Folder
from envforge.errors import StoreFull


class Undone(NamedTuple):
    """What came of it."""

    restored: int
    bytes: int
    skipped: int
    problems: list[tuple[str, str]]


def still_links(folders: Folders, replaced: Iterable[Replaced]) -> list[Replaced]:
    """Names that are links to the kept file: the others were not replaced, or changed since."""
    return [item for item in replaced if _is_link(folders, item)]


def is_below(item: Replaced, paths: Iterable[Path]) -> bool:
    """Whether a name lies in one of these folders; with none, all do."""
    listed = [os.path.realpath(path) for path in paths]
    path = f"{item.folder.path}/{item.name}"
    return not listed or any(path.startswith(f"{folder}/") for folder in listed)


def see_that_there_is_room(links: Iterable[Replaced]) -> None:
    """Before the first copy, on each filesystem.

    Raises:
        StoreFull: not all would fit.
    """
    needed: dict[int, list[Replaced]] = {}
    for item in links:
        needed.setdefault(item.folder.device, []).append(item)
    for items in needed.values():
        place = items[0].folder.path
        disk = os.statvfs(place)
        size, free = sum(item.kept.size for item in items), disk.f_bavail * disk.f_frsize
        if size > free:
            raise StoreFull(path=place, resource="bytes", needed=size, available=free)
        if disk.f_files and len(items) > disk.f_favail:
            raise StoreFull(
                path=place, resource="inodes", needed=len(items), available=disk.f_favail
            )


def restore(folders: Folders, links: Iterable[Replaced], progress: Callable[[int], None]) -> Undone:
    """Copy each back beside its name, with the owner, mode and times it had, and rename."""
    restored = copied = skipped = 0
    problems: list[tuple[str, str]] = []
    for item in links:
        path = f"{item.folder.path}/{item.name}"
        try:
            size = _restore(folders, item)
        except Changed:
            skipped += 1
        except OSError as error:
            problems.append((path, why(error)))
        else:
            restored += 1
            copied += size
            progress(copied)
    return Undone(restored, copied, skipped, problems)


def leftovers(folders: Folders, replaced: Iterable[Replaced]) -> list[tuple[Folder, str]]:
    """What killed runs left in the folders of these names."""
    found: list[tuple[Folder, str]] = []
    for folder in {item.folder.inode: item.folder for item in replaced}.values():
        with suppress(Changed, OSError):  # gone: nothing of ours is there, either
            names = os.listdir(folders.enter(folder))  # noqa: PTH208 - a descriptor has no path
            found += [(folder, name) for name in names if LEFTOVER.fullmatch(name)]
    return found


def _is_link(folders: Folders, item: Replaced) -> bool:
    try:
        where = folders.enter(item.folder)
        found = os.stat(item.name, dir_fd=where, follow_symlinks=False)
    except (Changed, OSError):
        return False
    return found.st_ino == item.kept.inode and found.st_dev == item.folder.device


def _restore(folders: Folders, item: Replaced) -> int:
    """Bytes that were copied.

    Raises:
        Changed: the name is no link to the kept file any more.
        OSError: the disk is full, or refuses.
    """
    where = folders.enter(item.folder)
    source = os.open(item.name, READ, dir_fd=where)
    aside = aside_name()
    try:
        found = os.fstat(source)
        if found.st_ino != item.kept.inode or not stat.S_ISREG(found.st_mode):
            raise Changed(item.name)
        if not _is_as_it_was(source, found, item.kept):
            raise OSError(None, "its bytes were changed since, for all its names; nothing to undo")
        target = os.open(aside, WRITE_NEW, 0o600, dir_fd=where)
        try:
            copying.copy(source, target, found.st_size)
            _dress(target, item)
        finally:
            os.close(target)
        os.rename(aside, item.name, src_dir_fd=where, dst_dir_fd=where)
    finally:
        os.close(source)
        with suppress(FileNotFoundError):
            os.unlink(aside, dir_fd=where)
    return found.st_size


def _is_as_it_was(source: int, found: os.stat_result, kept: Linked) -> bool:
    """Whether a file still has the bytes that were linked: by its size and time, else its hash."""
    if found.st_size != kept.size:
        return False
    if found.st_mtime_ns == kept.written:
        return True
    return Reader(Crew()).hashed(source, kept.size, kept.claim).digest == kept.claim


def _dress(target: int, item: Replaced) -> None:
    found = os.fstat(target)
    if (found.st_uid, found.st_gid) != (item.owner, item.group):
        os.fchown(target, item.owner, item.group)
    os.fchmod(target, item.mode)
    os.utime(target, ns=(item.accessed, item.modified))
    os.fsync(target)
