"""Looks at the files of a store, and reads those whose bytes shall be proven."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from envforge.adapters.files import open_to_look, reason
from envforge.adapters.store.known_hashes import KnownHashes
from envforge.adapters.store.store import Store
from envforge.cache import git_blob, layout
from envforge.cache.health import Stored

_CHUNK: Final = 1 << 20

Inode = tuple[int, int]
"""Device and number."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file's bytes are."""

    sha256: str
    git_sha1: str
    """Git's name of a blob of these bytes; empty: not asked for."""
    found: os.stat_result
    """The file, after its last byte was read."""


@dataclass
class Hashing:
    """Reads files, several at a time, and tells how far it is."""

    progress: Callable[[int], None]
    """Is told how many bytes were read in all; called from several threads, one at a time."""
    known: KnownHashes | None = None
    """Remembers what was read; nothing is believed of it here."""
    read: int = 0
    git: dict[str, str] = field(default_factory=dict)
    """sha256 to git-sha1 of files that were read and are what their name says."""
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def all_of(self, items: Sequence[Stored], *, git: frozenset[str]) -> list[Stored]:
        """The same, each with the sha256 of its bytes, or why they could not be read.

        Args:
            items: files of the store.
            git: sha256 of those whose git-sha1 is wanted, too.
        """
        workers = min(4, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(lambda item: self._one(item, git=item.sha256 in git), items))

    def _one(self, item: Stored, *, git: bool) -> Stored:
        began = time.time_ns()
        try:
            digest = digest_of(item.path, git=git, told=self.told)
        except FileNotFoundError:  # collected meanwhile: what needs it will be found missing
            return item
        except OSError as error:
            return replace(item, problem=reason(error))
        with self._guard:
            if self.known is not None:
                self.known.add(digest.found, digest.sha256, read_at=began)
            if digest.git_sha1 and digest.sha256 == item.sha256:
                self.git[item.sha256] = digest.git_sha1
        return replace(item, found=digest.sha256)

    def told(self, count: int) -> None:
        """So many bytes more were read."""
        with self._guard:
            self.read += count
            self.progress(self.read)


def digest_of(
    path: str | int, *, git: bool = False, told: Callable[[int], None] = lambda _: None
) -> Digest:
    """Read a file; a symbolic link, a pipe or a device is refused.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    descriptor = path if isinstance(path, int) else open_to_look(path)
    try:
        size = os.fstat(descriptor).st_size
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        ours = hashlib.sha256()
        theirs = git_blob.hasher(size) if git else None
        with suppress(OSError):  # what lies in memory says nothing of the disk
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        buffer = memoryview(bytearray(_CHUNK))
        while count := os.readv(descriptor, [buffer]):
            ours.update(buffer[:count])
            if theirs:
                theirs.update(buffer[:count])
            told(count)
        return Digest(ours.hexdigest(), theirs.hexdigest() if theirs else "", os.fstat(descriptor))
    finally:
        os.close(descriptor)


def stored_files(store: Store, only: Iterable[str] | None = None) -> Iterator[Stored]:
    """Files of the store as lstat shows them.

    Args:
        store: which.
        only: these alone, where they are there; None: all.
    """
    if only is None:
        for entry in store.blobs():
            with suppress(FileNotFoundError):
                yield _stored(entry.path, entry.name, entry.stat(follow_symlinks=False))
        return
    for sha256 in only:
        for path, found in store.inodes(sha256):
            yield _stored(str(path), path.name, found)


def _stored(path: str, name: str, found: os.stat_result) -> Stored:
    sha256, _, copy = name.partition(".")
    return Stored(
        sha256=sha256,
        path=path,
        copy=int(copy) if copy.isdigit() else 0,
        is_file=stat.S_ISREG(found.st_mode),
        size=found.st_size,
        mode=stat.S_IMODE(found.st_mode),
        owner=found.st_uid,
        inode=(found.st_dev, found.st_ino),
    )


def folder_modes(store: Store) -> Iterator[tuple[str, int]]:
    """The folders that files of the store lie in, and their permission bits."""
    for folder in sorted(store.root.glob("[0-9a-f][0-9a-f]")):
        with suppress(FileNotFoundError):
            yield str(folder), stat.S_IMODE(folder.lstat().st_mode)


def index(store: Store) -> dict[str, tuple[str, str]]:
    """Every name of the index: git-sha1 to the file that says so, and the sha256 it says."""
    found = {}
    for path in sorted((store.root / layout.INDEX).glob("??/*")):
        sha256 = store.named(path.name)
        if sha256:
            found[path.name] = str(path), sha256
    return found


def damaged(store: Store) -> frozenset[Inode]:
    """Inodes of the files in quarantine: views may still have them under their old names."""
    found = set()
    with suppress(OSError), os.scandir(store.root / layout.QUARANTINE) as entries:
        for entry in entries:
            looked = entry.stat(follow_symlinks=False)
            found.add((looked.st_dev, looked.st_ino))
    return frozenset(found)
