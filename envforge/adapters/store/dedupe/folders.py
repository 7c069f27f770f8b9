"""Entering folders that belong to others: never through a symbolic link, and only the one meant."""

from __future__ import annotations

import os
from typing import Final

from envforge.adapters.files import open_to_look, reason
from envforge.adapters.store.trees.folders import ENTER
from envforge.cache.dedupe_plan import Copy, Folder

_MOST: Final = 200


class Changed(Exception):
    """A file or a folder is no longer what it was when it was found."""


def why(error: Changed | OSError) -> str:
    """The reason, as a part of a sentence."""
    return "was changed meanwhile" if isinstance(error, Changed) else reason(error)


class Folders:
    """Descriptors of folders, for one thread; the oldest are closed where they get many."""

    def __init__(self) -> None:
        self._open: dict[Folder, int] = {}

    def enter(self, folder: Folder) -> int:
        """Its descriptor, which stays ours.

        Raises:
            Changed: another folder lies there now.
            OSError: it is gone, or may not be read.
        """
        known = self._open.get(folder)
        if known is not None:
            return known
        descriptor = os.open(folder.path, ENTER)
        found = os.fstat(descriptor)
        if (found.st_dev, found.st_ino) != (folder.device, folder.inode):
            os.close(descriptor)
            raise Changed(folder.path)
        if len(self._open) >= _MOST:
            self.close()
        self._open[folder] = descriptor
        return descriptor

    def open(self, copy: Copy) -> int:
        """A descriptor to read a copy by; the caller closes it.

        Raises:
            Changed: another file lies there now, or it was written.
            OSError: it is gone, or may not be read.
        """
        folder, name = copy.names[0]
        where = self.enter(folder)
        descriptor = open_to_look(name, dir_fd=where)
        if not is_same(os.fstat(descriptor), copy.found):
            os.close(descriptor)
            raise Changed(copy.path)
        return descriptor

    def close(self) -> None:
        """Let go of all folders."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


def is_same(now: os.stat_result, then: os.stat_result) -> bool:
    """The same inode, and its bytes were not written; the time of a link does not count."""
    return (
        now.st_ino == then.st_ino
        and now.st_dev == then.st_dev
        and now.st_size == then.st_size
        and now.st_mtime_ns == then.st_mtime_ns
        and now.st_mode == then.st_mode
    )
