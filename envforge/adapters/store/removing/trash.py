"""Takes files out of the store so that two who do it at once, a prefill, or a kill lose nothing.

A file is renamed to `trash/`, and only then is looked at again: who took out a lease before finding
it in the store is seen now, and who looks later does not find it. What turns out to be needed gets
its name back by link(2), which never replaces. A kill leaves files in the trash; the next run
decides about them anew. No lock is needed for any of this; one only saves the second run its work.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from envforge.adapters.files import unusable
from envforge.adapters.store import holders
from envforge.adapters.store.store import Store
from envforge.cache import layout
from envforge.cache.survey import StoredFile

Needed = Callable[[], Collection[str]]
"""Looks again which hashes are needed: leases and locks."""
_TOGETHER: Final = 32
"""Files that are in the trash at a time, for a millisecond or two."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A file that lies in the trash."""

    aside: Path
    home: Path
    sha256: str
    before: os.stat_result | None = None
    """As it was found when it was taken; None: in an earlier run."""


def discard(
    store: Store, files: Iterable[StoredFile], needed: Needed
) -> Iterator[tuple[StoredFile, bool]]:
    """Remove files; yields each with whether that was done: False, it is needed after all, or gone.

    Raises:
        FileNotUsable: the disk refuses; what was in the trash has its name back.
    """
    left, me = iter(files), holders.me()
    while batch := list(islice(left, _TOGETHER)):
        yield from _discard_together(store, batch, needed, me)


def _discard_together(
    store: Store, batch: list[StoredFile], needed: Needed, me: str
) -> list[tuple[StoredFile, bool]]:
    taken: dict[int, _Taken] = {}
    try:
        before = needed()
        for number, item in enumerate(batch):
            if item.sha256 not in before and (found := _take(store, item, me)):
                taken[number] = found
        after = needed()
        removed = {number for number, moved in taken.items() if _settle(moved, after)}
    except OSError as error:
        raise unusable(store.root / layout.TRASH, error) from error
    finally:
        for moved in taken.values():
            if moved.aside.exists():  # an error, or Ctrl-C, came between
                _put_back(moved)
    return [(item, number in removed) for number, item in enumerate(batch)]


def _take(store: Store, item: StoredFile, me: str) -> _Taken | None:
    """Move one to the trash; None: it is not what it was when it was chosen."""
    home = layout.blob(store.root, item.sha256, item.copy)
    aside = store.root / layout.TRASH / f"{home.name}~{me}"
    try:
        found = home.lstat()
        is_same = (found.st_dev, found.st_ino) == item.facts.key
        changed = max(found.st_mtime, found.st_ctime)
        was_read = item.facts.read not in {None, found.st_atime}
        if found.st_nlink != 1 or not is_same or was_read or changed != item.facts.changed:
            return None
        home.rename(aside)
    except FileNotFoundError:
        return None
    return _Taken(aside, home, item.sha256, found)


def _settle(item: _Taken, needed: Collection[str]) -> bool:
    """Remove for good, or put back; whether it was removed."""
    try:
        found = item.aside.lstat()
    except FileNotFoundError:
        return False  # another run settled it
    if item.sha256 in needed or found.st_nlink > 1 or _was_used(item.before, found):
        _put_back(item)
        return False
    item.aside.unlink(missing_ok=True)
    return True


def _was_used(before: os.stat_result | None, found: os.stat_result) -> bool:
    """Whether anybody read or touched it meanwhile; renaming changes ctime alone."""
    return before is not None and (before.st_atime_ns, before.st_mtime_ns) != (
        found.st_atime_ns,
        found.st_mtime_ns,
    )


def _put_back(item: _Taken) -> None:
    """Give it its name again; where another file has that by now, the same bytes are there."""
    with suppress(FileExistsError, FileNotFoundError):
        os.link(item.aside, item.home, follow_symlinks=False)
    item.aside.unlink(missing_ok=True)


def settle_leftovers(store: Store, needed: Needed) -> tuple[int, int]:
    """Finish what killed runs began; files and bytes that were removed.

    Raises:
        FileNotUsable: the disk refuses.
    """
    count = size = 0
    try:
        found_here = sorted((store.root / layout.TRASH).iterdir())
        wanted = needed()  # afterwards: whoever needs one and found it had said so before it went
        for aside in found_here:
            name, _, holder = aside.name.partition("~")
            sha256, _, _ = name.partition(".")
            if not layout.SHA256.fullmatch(sha256) or holders.is_gone(holder) is False:
                continue  # none of ours, or of a run that is at it
            with suppress(FileNotFoundError):
                found = aside.lstat()
                home = store.root / sha256[:2] / name
                if stat.S_ISREG(found.st_mode) and _settle(_Taken(aside, home, sha256), wanted):
                    count, size = count + 1, size + found.st_blocks * 512
    except OSError as error:
        raise unusable(store.root / layout.TRASH, error) from error
    return count, size
