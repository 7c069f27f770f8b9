"""What a look at some folders found: copies by claim, each inode once."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from envforge.adapters.files import reason
from envforge.cache import layout
from envforge.cache.dedupe_plan import Copy, Folder

LEFTOVER: Final = re.compile(r"\.envforge-([0-9a-f]+)-[0-9a-f]+\.incomplete")
"""A link on its way, with the process that made it. huggingface_hub clears the suffix, too."""
UNFINISHED: Final = (".incomplete", ".lock", ".tmp", ".part")
_LENGTHS: Final = frozenset({40, 64})
_STEP: Final = 1000


class Found:
    """Filled by `Tree`."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        """`progress` is told now and then how many names were seen."""
        self.claims: defaultdict[str, list[Copy]] = defaultdict(list)
        self.unnamed: list[Copy] = []
        """Copies of which only their bytes can say what they are."""
        self.names = 0
        """Of model files."""
        self.problems: list[tuple[str, str]] = []
        """What could not be entered, and why."""
        self.stores: list[str] = []
        """Stores of envforge that were met, and left alone."""
        self.leftovers: list[tuple[Folder, str]] = []
        self._inodes: defaultdict[int, dict[int, Copy]] = defaultdict(dict)
        self._progress = progress

    @property
    def copies(self) -> list[Copy]:
        """All, each inode once."""
        return [copy for known in self._inodes.values() for copy in known.values()]

    def blobs(self, files: list[os.DirEntry[str]], folder: Folder) -> None:
        """Take in a repository's `blobs/`, whose names are hashes.

        An inode that was met before is linked already and not looked up again: on a tree without
        duplicates that is most of the work.
        """
        files.sort(key=os.DirEntry.inode)  # as they lie in the disk's table
        known = self._inodes[folder.device] if _numbers_agree(files, folder) else {}
        for entry in files:
            copy = known.get(entry.inode())
            name = entry.name
            if copy is not None and len(name) in _LENGTHS:
                copy.names.append((folder, name))
            elif layout.is_blob_name(name):
                self.note(entry, folder, name)
            elif name[0] == ".":
                self.hidden(folder, name)
            elif not name.endswith(UNFINISHED):
                self.note(entry, folder, "")
        self.count(len(files))

    def note(
        self, entry: os.DirEntry[str], folder: Folder, claim: str, *, plain: bool = False
    ) -> None:
        """Take in one file."""
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError as error:
            self.problem(f"{folder.path}/{entry.name}", error)
            return
        known = self._inodes[found.st_dev]
        copy = known.get(found.st_ino)
        if copy is not None:
            copy.names.append((folder, entry.name))
            return
        copy = known[found.st_ino] = Copy(found, [(folder, entry.name)], plain)
        if not found.st_size:
            return  # nothing to gain
        (self.claims[claim] if claim else self.unnamed).append(copy)

    def hidden(self, folder: Folder, name: str) -> None:
        """Of hidden files only what an earlier run left counts."""
        if LEFTOVER.fullmatch(name):
            self.leftovers.append((folder, name))

    def problem(self, path: str, error: OSError) -> None:
        """Something could not be read."""
        self.problems.append((path, reason(error)))

    def count(self, names: int) -> None:
        """So many names more."""
        if (self.names + names) // _STEP > self.names // _STEP:
            self._progress(self.names + names)
        self.names += names


def _numbers_agree(files: list[os.DirEntry[str]], folder: Folder) -> bool:
    """Whether a listing's inode numbers are those of the files: not so on some FUSE and overlays.

    What the listing's entry was looked up for stays with it.
    """
    try:
        found = files[0].stat(follow_symlinks=False)
    except (IndexError, OSError):
        return False
    return found.st_ino == files[0].inode() and found.st_dev == folder.device
