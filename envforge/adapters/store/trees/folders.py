"""Folders that belong to somebody else: entered, and written, without following their links.

A view lies in folders of whoever uses it, and is made by the store's owner, often root. Whatever
that user puts there meanwhile, a link to `/etc` included, must not steer what root does. So every
name is one step from an open folder, and no step follows a symbolic link.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envforge.adapters.users import group_of
from envforge.errors import ViewRefused

ENTER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
WRITE_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""None follows a symbolic link; a pipe that somebody laid does not make us wait."""
_ASIDE: Final = re.compile(r"\.envforge-[0-9a-f]{16}\.tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whoever a view is for."""

    uid: int
    gid: int
    """-1: whatever it comes to."""

    @classmethod
    def us(cls) -> Owner:
        """Whoever runs us."""
        return cls(uid=os.geteuid(), gid=os.getegid())

    @classmethod
    def of(cls, uid: int) -> Owner:
        """A user, who need not be known here: containers have numbers without names."""
        return cls(uid=uid, gid=group_of(uid))

    @property
    def is_us(self) -> bool:
        """Whether we make it for ourselves."""
        return self.uid == os.geteuid()


@dataclass(frozen=True, slots=True)
class Folder:
    """An open folder."""

    descriptor: int
    path: Path
    """For messages; nothing is looked up by it."""
    owner: Owner

    @contextmanager
    def enter(self, name: str, *, make: bool = False) -> Iterator[Folder]:
        """The folder of this name, made where it is missing.

        Raises:
            FileNotFoundError: it is missing.
            ViewRefused: something else is there, a symbolic link included.
        """
        made = make and self._make(name)
        try:
            descriptor = os.open(name, ENTER, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise self.refused(name) from error
            raise
        try:
            below = Folder(descriptor, self.path / name, self.owner)
            if made:
                below.hand_over(self)
            yield below
        finally:
            os.close(descriptor)

    @contextmanager
    def descend(self, path: str, *, make: bool = False) -> Iterator[Folder]:
        """The folder at this path below; empty: this one."""
        if not path:
            yield self
            return
        first, _, rest = path.partition("/")
        with self.enter(first, make=make) as below, below.descend(rest, make=make) as last:
            yield last

    def refused(self, name: str) -> ViewRefused:
        """Something is in the way."""
        path = self.path / name
        found = self.look(name)
        what = "a symbolic link" if found and stat.S_ISLNK(found.st_mode) else "something else"
        return ViewRefused(
            path=str(path),
            reason=f"{what} is where a folder or file of the view belongs",
            remedy=f"see what it is, and move it away: `mv {path} {path}.old`",
        )

    def _make(self, name: str) -> bool:
        try:
            os.mkdir(name, dir_fd=self.descriptor)
        except FileExistsError:
            return False
        return True

    def hand_over(self, parent: Folder) -> None:
        """Give a folder that we made to whoever the view is for, if we may.

        Its name may have been swapped since, so only an empty folder of ours is given away.
        """
        found = os.fstat(self.descriptor)
        if self.owner.is_us or found.st_uid != os.geteuid() or self.names():
            return
        inherits = os.fstat(parent.descriptor).st_mode & stat.S_ISGID
        with suppress(PermissionError):  # a store's owner who is not root keeps it
            os.fchown(self.descriptor, self.owner.uid, -1 if inherits else self.owner.gid)

    # --- what lies in it --------------------------------------------------------------------

    def look(self, name: str) -> os.stat_result | None:
        """What has this name, the link itself where it is one; None: nothing."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """Everything in it, sorted."""
        return sorted(os.listdir(self.descriptor))  # noqa: PTH208 - pathlib has no open folders

    def read(self, name: str, most: int = 4096) -> bytes | None:
        """The first bytes of a regular file; None: there is none."""
        try:
            descriptor = os.open(name, READ, dir_fd=self.descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:
                return None
            raise
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            return os.read(descriptor, most) if is_file else None
        finally:
            os.close(descriptor)

    def target(self, name: str) -> str | None:
        """Where a symbolic link points; None: there is none."""
        try:
            return os.readlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise

    # --- changing it ------------------------------------------------------------------------

    def write(self, name: str, data: bytes, *, aside: Folder, sync: bool = False) -> bool:
        """Let a file hold these bytes; False: it did already.

        Args:
            name: of the file.
            data: the bytes.
            aside: where to write it first; on the same filesystem.
            sync: wait until it, and all that was done before, is on the disk.
        """
        if self.read(name, len(data) + 1) == data:
            return False
        with aside.new_file() as (temporary, descriptor):
            with open(descriptor, "wb", closefd=False) as stream:
                stream.write(data)
            if not self.owner.is_us:
                with suppress(PermissionError):
                    os.fchown(descriptor, self.owner.uid, self.owner.gid)
            if sync:
                os.fsync(descriptor)
            self.take(temporary, name, aside=aside)
        return True

    def symlink(self, name: str, target: str, *, aside: Folder) -> bool:
        """Let a name be a symbolic link; False: it was already.

        The link stays ours: its owner counts in sticky folders only (proc(5),
        `protected_symlinks`), and a name in somebody's folder is nothing to call chown on.
        """
        try:
            os.symlink(target, name, dir_fd=self.descriptor)
        except FileExistsError:
            if self.target(name) == target:
                return False
            temporary = aside_name()
            os.symlink(target, temporary, dir_fd=aside.descriptor)
            self.take(temporary, name, aside=aside)
        return True

    @contextmanager
    def new_file(self) -> Iterator[tuple[str, int]]:
        """A file under a name of its own, open for writing; removed unless it was taken."""
        name = aside_name()
        descriptor = os.open(name, WRITE_NEW, 0o666, dir_fd=self.descriptor)
        try:
            yield name, descriptor
        finally:
            os.close(descriptor)
            self.remove(name)

    def take(self, temporary: str, name: str, *, aside: Folder) -> None:
        """Rename something that was made aside to where it belongs, over what is there.

        Raises:
            ViewRefused: a folder is there.
        """
        try:
            os.replace(temporary, name, src_dir_fd=aside.descriptor, dst_dir_fd=self.descriptor)
        except (IsADirectoryError, FileExistsError) as error:
            raise self.refused(name) from error
        finally:
            # Two names of one inode: rename(2) does nothing then, and says that all is well.
            aside.remove(temporary)

    def remove(self, name: str) -> bool:
        """Remove a file or a link; False: there was none."""
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return False
        return True

    def remove_if_empty(self, name: str) -> bool:
        """Remove a folder that holds nothing; False: it holds something, or is not there."""
        with suppress(FileNotFoundError, NotADirectoryError):
            try:
                os.rmdir(name, dir_fd=self.descriptor)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
            else:
                return True
        return False

    def remove_asides(self) -> None:
        """Remove what a killed process left. The caller keeps others from working here."""
        for name in self.names():
            if _ASIDE.fullmatch(name):
                self.remove(name)


def aside_name() -> str:
    """A name for something that is not finished; `remove_asides` knows it."""
    return f".envforge-{secrets.token_hex(8)}.tmp"
