"""The store: every model file once, read-only, under its sha256.

Whoever owns the store writes it; others read. A file is there whole or not at all: it comes by
link(2) from a part that was hashed and flushed, so neither a kill nor a second writer shows half.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Final

from envforge.adapters.files import flush_folder, unusable, write_text
from envforge.adapters.store import holders, trust
from envforge.adapters.store.acting import acting_as
from envforge.cache import layout
from envforge.errors import InvalidFile, NoStore
from envforge.model.models import LinkMode

VERSION: Final = 1
READ_ONLY: Final = 0o444
_MOST_COPIES: Final = 1000
_CHUNK: Final = 1 << 22
_NO_LINKS_LEFT: Final = errno.EMLINK


class Store:
    """One store. Made by `create`, found by `open`; the constructor looks at nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, root: Path, *, mode: int = 0o755, group: int = -1) -> Store:
        """Make a store, or find the one that is there.

        Args:
            root: its folder; made where it is missing.
            mode: permission bits of its folders: 0o755, or 0o2750 for one group alone.
            group: gid that its folders get; -1: that of whoever makes it.

        Raises:
            UntrustedStore: others may write where it would be.
            FileNotUsable: the folder cannot be made, or holds something else.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
            trust.check(root)
            if not (root / layout.MARKER).exists():
                owner = root.stat()
                set_access(root.resolve(), owner, mode=mode, group=group)
                for name in layout.FOLDERS:
                    with acting_as(owner):
                        (root / name).mkdir(exist_ok=True)
                    set_access(root / name, owner, mode=mode, group=group)
                with acting_as(owner):
                    text = json.dumps({"version": VERSION}) + "\n"
                    write_text(root / layout.MARKER, text, mode=READ_ONLY)
        except OSError as error:
            raise unusable(root, error) from error
        return cls(root)

    @classmethod
    def open(cls, root: Path) -> Store:
        """The store at `root`.

        Raises:
            NoStore: none is there.
            UntrustedStore: others may write into it.
            InvalidFile: a later envforge made it.
        """
        marker = root / layout.MARKER
        try:
            version = json.loads(marker.read_text(encoding="utf-8"))["version"]
        except FileNotFoundError as error:
            reason = "is no store" if root.is_dir() else "does not exist"
            raise NoStore(path=str(root), reason=reason) from error
        except OSError as error:
            raise unusable(marker, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidFile(path=str(marker), mistakes=("it is not a store's marker",)) from error
        if version != VERSION:
            said = f"version {version}; this envforge reads version {VERSION}"
            raise InvalidFile(path=str(marker), mistakes=(said,))
        trust.check(root)
        store = cls(root)
        _refuse_open_folders(store)
        return store

    @cached_property
    def owner(self) -> os.stat_result:
        """Whose it is: the user and group that its files get."""
        return self.root.stat()

    @property
    def is_ours(self) -> bool:
        """Whether we own it, and so may write it and link out of it."""
        return self.owner.st_uid == os.geteuid()

    # --- files ------------------------------------------------------------------------------

    def path(self, sha256: str) -> Path:
        """Where the file lies, or would."""
        return layout.blob(self.root, sha256)

    def size(self, sha256: str) -> int | None:
        """Bytes of the file; None: it is not here."""
        try:
            found = self.path(sha256).lstat()
        except FileNotFoundError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def holds(self, sha256: str, size: int) -> bool:
        """Whether the file is here with the size it should have (`deep` looks hash the bytes)."""
        return self.size(sha256) == size

    def inodes(self, sha256: str) -> Iterator[tuple[Path, os.stat_result]]:
        """Every inode of the file: there are more where the links of one were used up."""
        for copy in range(_MOST_COPIES):
            path = layout.blob(self.root, sha256, copy)
            try:
                found = path.lstat()
            except FileNotFoundError:
                return
            yield path, found

    def blobs(self) -> Iterator[os.DirEntry[str]]:
        """Every file of the store, second inodes (`<sha256>.1`) included."""
        for folder in sorted(self.root.glob("[0-9a-f][0-9a-f]")):
            with os.scandir(folder) as entries:
                yield from (e for e in entries if layout.SHA256.match(e.name))

    def insert(self, part: Path, sha256: str) -> Path:
        """Take in a file whose bytes were hashed; `part` lies on the store's filesystem.

        The part is consumed. Who comes second finds the file there, which is as good.

        Raises:
            FileNotUsable: the disk is full or refuses.
        """
        target = self.path(sha256)
        try:
            self._finish(part)
            with acting_as(self.owner):
                self._make_folder(target.parent)
                try:
                    os.link(part, target, follow_symlinks=False)
                except FileExistsError:
                    self._replace_other_size(part, target)
                flush_folder(target.parent)
                part.unlink(missing_ok=True)
        except OSError as error:
            raise unusable(target, error) from error
        return target

    def _finish(self, part: Path) -> None:
        """Make it the owner's, read-only, and flush it; a link that came in its place is refused.

        Raises:
            OSError: the disk refuses, or this is no file of ours.
        """
        descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            if found.st_uid != self.owner.st_uid:  # root made it
                if found.st_uid != os.geteuid() or found.st_nlink != 1:
                    raise OSError(errno.EPERM, "not a file that was made here")
                os.fchown(descriptor, self.owner.st_uid, self.owner.st_gid)
            with acting_as(self.owner):
                os.fchmod(descriptor, READ_ONLY)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def take(self, descriptor: int, sha256: str) -> None:
        """Take in an open file where it lies, whose bytes were hashed and nobody can write.

        Raises:
            OSError: EXDEV for another filesystem or mount; EEXIST where the file is here.
        """
        target = self.path(sha256)
        ours = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # only with a folder's descriptor does Python ask linkat(2) to follow
            with acting_as(self.owner):
                self._make_folder(target.parent)
                os.link(str(descriptor), target, src_dir_fd=ours, follow_symlinks=True)
        finally:
            os.close(ours)

    def _make_folder(self, folder: Path) -> None:
        """A folder as open as the store, whatever our umask is."""
        try:
            folder.mkdir()
        except FileExistsError:
            return
        folder.chmod(stat.S_IMODE(self.root.stat().st_mode))

    def _replace_other_size(self, part: Path, target: Path) -> None:
        """A file that is there but shorter or longer was damaged from outside."""
        if part.stat().st_size != target.lstat().st_size:
            self.quarantine(target)
            os.link(part, target)

    def link(self, sha256: str, target: Path, *, dir_fd: int | None = None) -> LinkMode:
        """Give the file another name, at `target`, which must not exist yet.

        Args:
            sha256: which file.
            target: the new name; with `dir_fd`, relative to that open folder.
            dir_fd: a folder that somebody else could swap, held open.

        Raises:
            OSError: as link(2): EXDEV for another filesystem or mount, EPERM where the kernel's
                `protected_hardlinks` forbids it, EEXIST, ENOENT where the file is not here.
        """
        for copy in range(_MOST_COPIES):
            source = layout.blob(self.root, sha256, copy)
            try:
                os.link(source, target, dst_dir_fd=dir_fd, follow_symlinks=False)
            except FileNotFoundError:
                if not copy:
                    raise
                self._copy_inode(sha256, source)
                os.link(source, target, dst_dir_fd=dir_fd, follow_symlinks=False)
            except OSError as error:
                if error.errno != _NO_LINKS_LEFT:
                    raise
                continue
            return "hardlink"
        raise OSError(_NO_LINKS_LEFT, os.strerror(_NO_LINKS_LEFT), str(target))

    def _copy_inode(self, sha256: str, target: Path) -> None:
        """Another inode of the same bytes: the links of those before are used up."""
        from shutil import copyfileobj

        # a name of its own for every copy: another thread, or a process of another host, may be
        # at the same one, and what was linked must not be opened for writing again
        part = self.root / layout.PARTS / f"{sha256}.{holders.me()}.whole"
        with acting_as(self.owner):
            try:
                with self.path(sha256).open("rb") as source, part.open("xb") as copy:
                    copyfileobj(source, copy, _CHUNK)
                self._finish(part)
                with suppress(FileExistsError):  # another was quicker
                    os.link(part, target)
            finally:
                part.unlink(missing_ok=True)

    def quarantine(self, path: Path) -> Path:
        """Put a file of wrong bytes aside, out of everybody's way; where it lies now."""
        kept = self.root / layout.QUARANTINE / f"{path.name}.{time.time_ns()}"
        with acting_as(self.owner):
            path.rename(kept)
        return kept

    # --- other names ------------------------------------------------------------------------

    def named(self, etag: str) -> str | None:
        """The sha256 of a file that the hub names by `etag` (git's sha1); None: not known."""
        if layout.SHA256.fullmatch(etag):
            return etag
        try:
            found = (self.root / layout.INDEX / etag[:2] / etag).read_text(encoding="ascii").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found if layout.SHA256.fullmatch(found) else None

    def name(self, etag: str, sha256: str) -> None:
        """Remember that the hub knows the file by `etag`, seen to be true by its bytes."""
        if etag != sha256 and self.named(etag) != sha256:
            path = self.root / layout.INDEX / etag[:2] / etag
            try:
                with acting_as(self.owner):
                    self._make_folder(path.parent)
                    write_text(path, sha256 + "\n", mode=READ_ONLY)  # for all who may enter it
            except OSError as error:
                raise unusable(path, error) from error


def set_access(folder: Path, owner: os.stat_result, *, mode: int, group: int = -1) -> None:
    """Give a folder of a store its mode, and its group unless that is -1.

    Raises:
        OSError: it is not there, or what is there is not the owner's, or a symbolic link.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(folder, flags)
    try:
        if os.fstat(descriptor).st_uid != owner.st_uid:
            raise PermissionError(errno.EPERM, "belongs to somebody else", str(folder))
        if group != -1:
            os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)  # last: chown drops setgid
    finally:
        os.close(descriptor)


def _refuse_open_folders(store: Store) -> None:
    """See that nobody else may write into a folder of the store, either.

    Raises:
        UntrustedStore: somebody may.
    """
    for name in layout.FOLDERS:
        with suppress(FileNotFoundError, PermissionError):
            trust.check_folder(store.root / name, store.root)
