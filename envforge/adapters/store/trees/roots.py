"""The way to the folder of a view, step by step; see `folders.py` for why."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from envforge.adapters.files import unusable
from envforge.adapters.store.trees.folders import ENTER, Folder, Owner
from envforge.errors import FileNotUsable, ViewRefused

_STEP: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
"""Enough to go on from, also where a folder may be passed through and not listed."""
_MOST_LINKS: Final = 40
"""As many as Linux follows in one path (path_resolution(7))."""


@contextmanager
def open_root(path: Path, owner: Owner, *, make: bool = False) -> Iterator[Folder]:
    """The folder of a view, open.

    Who works for somebody else follows only those symbolic links on the way that root or they
    themselves made. Missing folders belong to whoever owns the one above, the last to `owner`.

    Raises:
        FileNotFoundError: it is missing, and not to be made.
        ViewRefused: a link of somebody else is on the way, or something that is no folder.
        FileNotUsable: it cannot be made, or may not be listed.
    """
    try:
        last = _Walk(path, owner, make=make).go()
        try:
            descriptor = os.open(".", ENTER, dir_fd=last)
        finally:
            os.close(last)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not make:
            raise
        raise _cannot(path, error) from error
    try:
        yield Folder(descriptor, path, owner)
    finally:
        os.close(descriptor)


def nearest_owner(path: Path) -> Owner:
    """Who owns the folder, or the nearest one above it that is there.

    Raises:
        FileNotUsable: it may not be looked at.
    """
    for place in (path, *path.parents):
        try:
            found = place.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise unusable(place, error) from error
        return Owner(uid=found.st_uid, gid=found.st_gid)
    raise AssertionError("there is no `/`")


def _cannot(path: Path, error: OSError) -> FileNotUsable:
    said = unusable(path, error)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        said.remedy = (
            "name a folder of your own, `envforge cache view ./DIR --env ENV`,"
            " or ask whoever runs the store for `envforge cache serve`"
        )
    return said


class _Walk:
    """From `/` to a folder, one open folder at a time."""

    def __init__(self, path: Path, owner: Owner, *, make: bool) -> None:
        self.path, self.owner, self.make = path, owner, make
        self.ahead = list(path.absolute().parts[1:])
        self.links = 0

    @property
    def others_must_not_steer(self) -> bool:
        """Root can do what others cannot; so can whoever works for somebody else."""
        return os.geteuid() == 0 or not self.owner.is_us

    def go(self) -> int:
        """The descriptor of the last folder; the caller closes it."""
        here = os.open("/", _STEP)
        while self.ahead:
            name = self.ahead.pop(0)
            try:
                following = self._step(here, name)
            finally:
                os.close(here)
            here = following
        return here

    def _step(self, here: int, name: str) -> int:
        try:
            there = os.open(name, _STEP, dir_fd=here)
        except FileNotFoundError:
            if not self.make:
                raise
            return self._made(here, name)
        found = os.fstat(there)
        if stat.S_ISDIR(found.st_mode):
            return there
        try:
            return self._follow(here, there, name, found)
        finally:
            os.close(there)

    def _follow(self, here: int, link: int, name: str, found: os.stat_result) -> int:
        """Go on where a link points: its owner and target are those of the open link itself."""
        if not stat.S_ISLNK(found.st_mode):
            raise ViewRefused(path=str(self.path), reason=f"`{name}` on the way is no folder")
        target = os.readlink("", dir_fd=link)
        if found.st_uid not in {0, os.geteuid()} and self.others_must_not_steer:
            raise ViewRefused(
                path=str(self.path),
                reason=f"`{name}` on the way is a symbolic link of user {found.st_uid},"
                " who could have it point elsewhere",
                remedy="name the folder that it points to",
            )
        self.links += 1
        if self.links > _MOST_LINKS:
            raise ViewRefused(path=str(self.path), reason="symbolic links on the way go in circles")
        parts = list(Path(target).parts)
        if Path(target).is_absolute():
            self.ahead[:0] = parts[1:]
            return os.open("/", _STEP)
        self.ahead[:0] = parts
        return os.dup(here)

    def _made(self, here: int, name: str) -> int:
        try:
            os.mkdir(name, dir_fd=here)
        except FileExistsError:
            return self._step(here, name)
        descriptor = os.open(name, ENTER, dir_fd=here)
        above = os.fstat(here)
        heir, is_theirs = self.owner, not self.ahead or above.st_uid == self.owner.uid
        if not is_theirs:
            heir = Owner(uid=above.st_uid, gid=above.st_gid)
        Folder(descriptor, self.path, heir).hand_over(Folder(here, self.path, heir))
        if not is_theirs and not self.owner.is_us:
            # with folders of others below: to be passed through as the one above is
            os.fchmod(descriptor, stat.S_IMODE(above.st_mode) & ~0o1022)
        return descriptor
