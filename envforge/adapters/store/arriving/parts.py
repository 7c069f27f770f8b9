"""Parts: files on their way in, kept when a fetch ends early, and gone on with by the next.

`parts/<hash>.<holder>.part` is written by the process that its name tells, and by no other: a
store's file has the inode of its part, so nobody else may still have that open. Who ends early
renames it to `<hash>.left.part`. That, and the part of a process that has ended, is taken over as
it is; one that somebody may still write to is copied.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from envforge.adapters.files import unusable
from envforge.adapters.store import holders
from envforge.adapters.store.arriving import claims, writeback
from envforge.cache import git_blob

if TYPE_CHECKING:
    from typing_extensions import Self

_PART: Final = re.compile(r"(?P<key>[0-9a-f]{40,64})\.(?P<holder>[0-9a-f-]+|left)\.(?:part|whole)")
_LEFT: Final = "left"
_CHUNK: Final = 1 << 22
_WRITE_EARLY: Final = 1 << 25
"""Bytes that may be in memory only before the disk is given them."""
_OWNER_ONLY: Final = 0o600


class TooLong(Exception):
    """More bytes come than the file has."""


class Stopped(Exception):
    """We were asked to stop; what has come is kept."""


class Part:
    """A file on its way in, hashed while it is written. As `file` of huggingface_hub's `http_get`.

    Args:
        path: where it lies; goes on at its end where it exists.
        size: bytes that the whole file has.
        git: compute git's sha1, too.
        watch: told the number of bytes that have come; may raise `Stopped`.
    """

    def __init__(self, path: Path, size: int, *, git: bool, watch: Callable[[int], None]) -> None:
        self.path = path
        self.wanted = size
        self.received = 0
        """Bytes written by us, in all attempts."""
        self.resumed_at = 0
        """Bytes that another process has left; 0: all of it is ours."""
        self._git = git
        self._begun = 0
        self._at_start = False
        self.watch = watch
        self._trouble: OSError | None = None
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
            if os.fstat(self._file).st_size > size:
                os.ftruncate(self._file, 0)
        except OSError as error:
            raise unusable(path, error) from error
        self._hash_what_is_there()
        self.resumed_at = self.size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)
        with suppress(FileNotFoundError):  # it went into the store
            if self.size:
                self.path.rename(self.path.with_name(f"{self._key}.{_LEFT}.part"))
            else:
                self.path.unlink()

    @property
    def name(self) -> str:
        """Its path; what some transfers write to."""
        return str(self.path)

    @property
    def is_whole(self) -> bool:
        """Whether it has all its bytes, right or wrong."""
        return self.size == self.wanted

    @property
    def _key(self) -> str:
        return self.path.name.partition(".")[0]

    def under_its_hash(self) -> Path:
        """Rename it to the hash alone: it is fetched no further, whatever is done with it."""
        return self.path.rename(self.path.with_name(self._key))

    def check_disk(self) -> None:
        """Say what the disk has refused, if it has: no fault of the network's.

        Raises:
            FileNotUsable: it is full, or failed.
        """
        if self._trouble is not None:
            raise unusable(self.path, self._trouble) from self._trouble

    # --- as a file --------------------------------------------------------------------------

    def write(self, data: bytes) -> int:
        """Append.

        Raises:
            TooLong: the file would be longer than it should be.
            Stopped: see `watch`.
        """
        self.watch(self.size)
        if self.size + len(data) > self.wanted:
            raise TooLong
        left = memoryview(data)
        try:
            while left:
                written = os.pwrite(self._file, left, self.size)
                self._hash(left[:written])
                left = left[written:]
        except OSError as error:
            self._trouble = error
            raise
        self.received += len(data)
        if self.size - self._begun > _WRITE_EARLY:
            writeback.begin(self._file, self._begun, self.size - self._begun)
            self._begun = self.size
        self.watch(self.size)
        return len(data)

    def tell(self) -> int:
        """Where the next bytes go: the end."""
        return self.size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go back to the beginning, before `truncate`; anywhere else is the end."""
        self._at_start = whence == os.SEEK_SET and offset == 0
        return 0 if self._at_start else self.size

    def truncate(self) -> int:
        """After `seek(0)`: start anew, since the whole file comes once more."""
        if self._at_start:
            os.ftruncate(self._file, 0)
            self._hash_what_is_there()
        return self.size

    def flush(self) -> None:
        """Nothing is buffered."""

    # --- its bytes --------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget all that has come."""
        self.resumed_at = 0
        self.seek(0)
        self.truncate()

    def take(self, whole: Path) -> None:
        """Have the bytes of another file instead, which goes: one that came by other means."""
        whole.replace(self.path)
        os.close(self._file)
        self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self._hash_what_is_there()
        self.received += self.size

    def digests(self) -> tuple[str, str]:
        """sha256, and git's sha1 (empty where it was not asked for)."""
        if os.fstat(self._file).st_size != self.size:  # written past us, as `hf_transfer` does
            before = self.size
            self._hash_what_is_there()
            self.received += max(0, self.size - before)
        return self._sha256.hexdigest(), self._sha1.hexdigest() if self._sha1 else ""

    def _hash_what_is_there(self) -> None:
        self.size = 0
        self._begun = 0
        self._at_start = False
        self._sha256 = hashlib.sha256()
        self._sha1 = git_blob.hasher(self.wanted) if self._git else None
        while chunk := os.pread(self._file, _CHUNK, self.size):
            self.watch(self.size)
            self._hash(chunk)

    def _hash(self, data: bytes | memoryview) -> None:
        self._sha256.update(data)
        if self._sha1:
            self._sha1.update(data)
        self.size += len(data)


def prepare(folder: Path, key: str, holder: str) -> Path:
    """The path of a new part, at which lies what others have left of the file.

    Only whoever holds the claim may call it.

    Raises:
        FileNotUsable: the disk refuses.
    """
    mine = folder / f"{key}.{holder}.part"
    try:
        others = sorted(_left(folder, key), key=lambda item: item[1].st_size, reverse=True)
        for path, _, theirs in others:
            if path.suffix == ".part" and not mine.exists():
                _take_over(path, mine, as_is=_is_free(theirs))
            path.unlink(missing_ok=True)
    except OSError as error:
        raise unusable(mine, error) from error
    return mine


def whole(part: Path) -> Path:
    """Where a transfer that cannot go on with a part writes the file; never gone on with."""
    return part.with_suffix(".whole")


def at_hand(folder: Path) -> dict[str, int]:
    """Bytes that are left of each file, by its hash."""
    found: dict[str, int] = {}
    for entry, key, _ in _parts(folder):
        if entry.name.endswith(".part"):
            try:
                size = entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
            found[key] = max(found.get(key, 0), size)
    return found


def tidy(folder: Path, keys: Collection[str]) -> None:
    """Remove what ended processes have left of files that are in the store by now."""
    with os.scandir(folder) as entries:
        for entry in entries:
            holder = _holder_of(entry)
            if entry.name.partition(".")[0] in keys and _is_free(holder):
                Path(entry.path).unlink(missing_ok=True)


def _is_free(holder: str) -> bool:
    """Whether nobody can be at work on it, as far as can be proven at once."""
    return holder == _LEFT or bool(holders.is_gone(holder))


def abandoned(folder: Path, *, older_than: float) -> tuple[Path, ...]:
    """Parts and claims that no living process has, untouched for so many seconds: free to go."""
    now = time.time()
    found = []
    for entry in sorted(os.scandir(folder), key=lambda item: item.name):
        holder = _holder_of(entry)
        try:
            touched = entry.stat(follow_symlinks=False).st_mtime
        except FileNotFoundError:
            continue
        gone = holder == _LEFT or holders.is_gone(holder)
        silent = now - touched > max(older_than, claims.SILENT)
        if now - touched > older_than and (gone or (gone is None and silent)):
            found.append(Path(entry.path))
    return tuple(found)


def _holder_of(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_symlink():
            return str(Path(entry.path).readlink())
    except FileNotFoundError:
        return ""
    matched = _PART.fullmatch(entry.name)
    return matched["holder"] if matched else ""


def _parts(folder: Path) -> Iterator[tuple[os.DirEntry[str], str, str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            matched = _PART.fullmatch(entry.name)
            if matched:
                yield entry, matched["key"], matched["holder"]


def _left(folder: Path, key: str) -> Iterator[tuple[Path, os.stat_result, str]]:
    for entry, whose, holder in _parts(folder):
        if whose == key:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(found.st_mode):
                yield Path(entry.path), found, holder


def _take_over(path: Path, mine: Path, *, as_is: bool) -> None:
    if as_is:
        path.rename(mine)
        return
    copy = whole(mine)  # a kill in between leaves nothing that looks like a part
    with path.open("rb") as source, copy.open("wb") as target:
        size = os.fstat(source.fileno()).st_size
        while size > 0 and (done := _copy(source.fileno(), target.fileno(), size)):
            size -= done
    copy.rename(mine)


def _copy(source: int, target: int, size: int) -> int:
    """Bytes copied, in the kernel where it can: on xfs and btrfs they are shared."""
    try:
        return os.copy_file_range(source, target, size)
    except (OSError, AttributeError):
        return os.write(target, os.read(source, min(size, _CHUNK)))
