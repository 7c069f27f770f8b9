"""Puts a link in the place of a copy: link beside it, look again, rename.

At every moment the name leads to a whole file: to the old one, and then to the kept one. What a
kill leaves is a second name of the kept file, hidden and with the suffix of an unfinished download.
"""

from __future__ import annotations

import itertools
import os
import stat
from contextlib import suppress
from typing import Final

from envforge.adapters.store.dedupe.exchanging import take_place
from envforge.adapters.store.dedupe.folders import Changed, Folders, is_same
from envforge.adapters.store.dedupe.found import LEFTOVER
from envforge.cache.dedupe_plan import Copy, Folder

_NUMBERS: Final = itertools.count()


def replace(folders: Folders, kept: Copy, copy: Copy) -> int:
    """Make all names of `copy` links to `kept`; how many there are now.

    Raises:
        Changed: one of both was written, or is another file now. Names before it are done.
        OSError: EMLINK where the kept inode has no links left to give; ETXTBSY where a program
            is writing the copy; whatever else forbids it.
    """
    source_folder, source_name = kept.names[0]
    for folder, name in copy.names:
        aside = _link(folders, source_folder, source_name, folder)
        where = folders.enter(folder)
        try:
            _see_that_both_are_as_they_were(where, aside, name, kept, copy)
            if copy.plain:
                take_place(where, aside, name, copy.found)
            else:  # a blob is named by its bytes, and never written in place
                os.rename(aside, name, src_dir_fd=where, dst_dir_fd=where)
        finally:
            # Also after success: rename(2) of two links of one inode does nothing, and that is
            # what it meets where another run was quicker.
            with suppress(FileNotFoundError):
                os.unlink(aside, dir_fd=where)
    return len(copy.names)


def _link(folders: Folders, source_folder: Folder, source_name: str, folder: Folder) -> str:
    """A second name beside what is to be replaced."""
    source = folders.enter(source_folder)
    where = folders.enter(folder)
    while True:
        aside = aside_name()
        try:
            os.link(source_name, aside, src_dir_fd=source, dst_dir_fd=where, follow_symlinks=False)
        except FileExistsError:  # of a process that had our number
            continue
        return aside


def aside_name() -> str:
    """A name that `LEFTOVER` knows."""
    return f".envforge-{os.getpid():x}-{next(_NUMBERS):x}.incomplete"


def _see_that_both_are_as_they_were(
    where: int, aside: str, name: str, kept: Copy, copy: Copy
) -> None:
    linked = os.stat(aside, dir_fd=where, follow_symlinks=False)
    if not is_same(linked, kept.found):
        raise Changed(kept.path)
    if not is_same(os.stat(name, dir_fd=where, follow_symlinks=False), copy.found):
        raise Changed(f"{copy.names[0][0].path}/{name}")


def clear_leftovers(folders: Folders, leftovers: list[tuple[Folder, str]]) -> int:
    """Remove what killed runs left; how many names. Those of a living process stay."""
    removed = 0
    for folder, name in leftovers:
        match = LEFTOVER.fullmatch(name)
        if match is None or _is_alive(int(match[1], 16)):
            continue
        with suppress(Changed, OSError):  # gone meanwhile, or not ours to remove
            where = folders.enter(folder)
            if stat.S_ISREG(os.stat(name, dir_fd=where, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=where)
                removed += 1
    return removed


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return process != os.getpid()
