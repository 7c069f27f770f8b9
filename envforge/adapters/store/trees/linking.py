"""One file of the store into a view: a hardlink, else a reflink, else a copy whose hash was seen.

Only a hardlink shares the page cache as well as the disk. It needs the store's own filesystem and
mount (EXDEV), and the store's owner (`fs.protected_hardlinks`, proc(5): EPERM).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from envforge.adapters.store import copying
from envforge.adapters.store.store import READ_ONLY, Store
from envforge.adapters.store.trees.folders import Folder, aside_name
from envforge.errors import NotCached, ViewRefused, WrongBytes
from envforge.model.models import LinkMode

_NO_HARDLINK: Final = frozenset(
    {
        errno.EXDEV,
        errno.EPERM,
        errno.EACCES,
        errno.EMLINK,
        errno.EOPNOTSUPP,
        errno.ENOSYS,
    }
)
_CHUNK: Final = 4 << 20
_LOOKS: Final = 10
_PAUSE: Final = 0.05
"""Seconds between two looks for a file that a collection may be putting back."""


class Placer:
    """Brings files into one view, and remembers how.

    Args:
        store: where they lie.
        copied: is told how many bytes more were copied.
        to_come: bytes that may still have to be copied; told before the first copy.
    """

    def __init__(
        self, store: Store, *, copied: Callable[[int], None], to_come: Callable[[], int]
    ) -> None:
        self.store = store
        self.why = ""
        self._copied = copied
        self._to_come = to_come
        self._hardlinks = self._reflinks = True
        self._has_space = False

    def place(
        self,
        sha256: str,
        name: str,
        folder: Folder,
        *,
        aside: Folder,
        kept: Callable[[], LinkMode | None],
    ) -> tuple[LinkMode, bool]:
        """See to it that the file is in the folder; how it is there, and whether that is new.

        Args:
            sha256: which file.
            name: what it is called there.
            folder: where.
            aside: a folder of the same filesystem for what is not finished.
            kept: how an earlier run brought it, if it is still there and no hardlink.

        Raises:
            ViewRefused: something else has the name, or the copies do not fit.
            WrongBytes: the store's file is damaged; copies are seen to be right.
            NotCached: it left the store meanwhile.
            OSError: the disk refuses.
        """
        if self._hardlinks:
            try:
                return "hardlink", self._link(sha256, name, folder, aside)
            except OSError as error:
                if self._is_gone(sha256):
                    raise _gone(sha256, self.store) from error
                if error.errno == errno.ENOENT:  # a collection has put it back
                    return "hardlink", self._link(sha256, name, folder, aside)
                if error.errno not in _NO_HARDLINK:
                    raise
                self.why = self.why or _reason(error, self.store, folder.path)
                self._hardlinks = error.errno == errno.EMLINK
        earlier = kept()
        if earlier is not None:
            return earlier, False
        return self._clone_or_copy(sha256, name, folder, aside), True

    def _is_gone(self, sha256: str) -> bool:
        """Whether it left the store for good; a collection puts back what is leased, at once."""
        for _ in range(_LOOKS):
            if self.store.size(sha256) is not None:
                return False
            time.sleep(_PAUSE)
        return True

    def _link(self, sha256: str, name: str, folder: Folder, aside: Folder) -> bool:
        try:
            self.store.link(sha256, Path(name), dir_fd=folder.descriptor)
        except FileExistsError:
            if is_linked(self.store, sha256, folder.look(name)):
                return False
            temporary = aside_name()
            self.store.link(sha256, Path(temporary), dir_fd=aside.descriptor)
            folder.take(temporary, name, aside=aside)
        return True

    def _clone_or_copy(self, sha256: str, name: str, folder: Folder, aside: Folder) -> LinkMode:
        try:
            source = os.open(self.store.path(sha256), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise _gone(sha256, self.store) from error
        try:
            with aside.new_file() as (temporary, target):
                mode = self._fill(source, target, sha256, folder)
                os.fchmod(target, READ_ONLY)
                folder.take(temporary, name, aside=aside)
        finally:
            os.close(source)
        return mode

    def _fill(self, source: int, target: int, sha256: str, folder: Folder) -> LinkMode:
        if self._reflinks:
            try:
                copying.reflink(source, target)
            except OSError:  # which number says "no reflinks here" differs between filesystems
                self._reflinks = False
            else:
                return "reflink"
        self._check_space(folder)
        self._copy(source, target, sha256)
        os.fsync(target)
        return "copy"

    def _copy(self, source: int, target: int, sha256: str) -> None:
        digest = hashlib.sha256()
        with open(source, "rb", closefd=False) as reader, open(target, "wb", closefd=False) as out:
            while chunk := reader.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
                self._copied(len(chunk))
        if digest.hexdigest() != sha256:
            raise WrongBytes(
                file=str(self.store.path(sha256)), expected=sha256, found=digest.hexdigest()
            )

    def _check_space(self, folder: Folder) -> None:
        if self._has_space:
            return
        disk = os.fstatvfs(folder.descriptor)
        free, needed = disk.f_bavail * disk.f_frsize, self._to_come()
        if needed > free:
            raise ViewRefused(
                path=str(folder.path),
                reason=f"{self.why}, and {needed:,} bytes of copies do not fit into {free:,}",
                remedy="keep views beside the store: `ENVFORGE_VIEWS` names another folder",
            )
        self._has_space = True


def is_linked(store: Store, sha256: str, found: os.stat_result | None) -> bool:
    """Whether this is an inode of the store that holds the file."""
    if found is None:
        return False
    return any(os.path.samestat(found, ours) for _, ours in store.inodes(sha256))


def is_our_copy(found: os.stat_result) -> bool:
    """Whether we brought this file; what clients fetch stays writable by its owner."""
    is_ours = found.st_uid == os.geteuid()
    return is_ours and stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == READ_ONLY


def _reason(error: OSError, store: Store, place: Path) -> str:
    if error.errno == errno.EXDEV:
        return "the view is on another filesystem or mount than the store"
    if error.errno == errno.EMLINK:
        return "some files have as many links as the filesystem allows"
    if error.errno in {errno.EPERM, errno.EACCES} and not store.is_ours:
        return "only the store's owner may hardlink its files (fs.protected_hardlinks)"
    return f"the filesystem of `{place}` has no hardlinks ({error.strerror})"


def _gone(sha256: str, store: Store) -> NotCached:
    return NotCached(
        what=f"file {sha256[:12]}…",
        searched=(str(store.root),),
        remedy="fetch it: `envforge cache prefill ENV`",
    )
