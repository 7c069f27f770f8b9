"""Hashes that were computed before, so that only new bytes are read.

A hash is remembered for an inode as it was: device, number, size, and the times of its last change
of content and of anything. Whoever changes one byte changes these. A run writes one small file of
its own and renames it into place: no lock is needed, also where `flock` does nothing, and a kill
leaves the files of earlier runs.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import struct
import time
from pathlib import Path
from typing import Final, Literal

from envforge.adapters.files import unusable

HashKind = Literal["sha256", "git-sha1"]
"""`git-sha1`: of a blob as git names it, which is how hubs name regular files."""
_KINDS: Final[dict[HashKind, tuple[int, int]]] = {"sha256": (1, 32), "git-sha1": (2, 20)}
"""A kind's number in the file, and the bytes of its digest."""
_RECORD: Final = struct.Struct("<QQQqqB32s")
_SUFFIX: Final = ".hashes"
_MANY: Final = 8
"""Files from which on they are written together into one."""
_MOST: Final = 2_000_000
"""Records kept when files are written together: the newest, 150 MB."""
SETTLED: Final = 20_000_000
"""Nanoseconds. A change within the kernel's clock tick (at most 10 ms) of another may leave the
same time, so nothing is remembered of a file that was changed a moment ago."""

_Key = tuple[int, int, int, int, int, int]


def kind_of(digest: str) -> HashKind:
    """By its length: a hub names LFS files by sha256, and others by git's sha1."""
    return "sha256" if len(digest) == 64 else "git-sha1"


class KnownHashes:
    """What is known of files on this machine; for one user, in a folder of theirs.

    Not shared between threads while it is being filled: collect, then `add`.
    """

    def __init__(self, folder: Path) -> None:
        """`folder`: usually `settings.cache / "hashes"`; need not exist, is read when asked."""
        self.folder = folder
        self._known: dict[_Key, bytes] | None = None
        self._new: dict[_Key, bytes] = {}

    def get(self, found: os.stat_result, kind: HashKind = "sha256") -> str | None:
        """The hash of a file that looks like this; None: its bytes must be read."""
        known = self._read() if self._known is None else self._known
        digest = known.get(_key(found, kind))
        return None if digest is None else digest[: _KINDS[kind][1]].hex()

    def add(
        self, found: os.stat_result, digest: str, kind: HashKind = "sha256", *, read_at: int
    ) -> None:
        """Remember the hash of a file.

        Args:
            found: what the file looked like when all its bytes had been read.
            digest: hexadecimal.
            kind: of what the digest is.
            read_at: `time.time_ns()` before the first byte was read. A file that was changed at
                that moment is not remembered.
        """
        if read_at - max(found.st_mtime_ns, found.st_ctime_ns) < SETTLED:
            return
        self._new[_key(found, kind)] = bytes.fromhex(digest)
        if self._known is not None:
            self._known[_key(found, kind)] = bytes.fromhex(digest)

    def save(self) -> None:
        """Write what was added.

        Raises:
            FileNotUsable: the folder cannot be written.
        """
        if not self._new:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            files = self._files()
            if len(files) < _MANY:
                self._write(self._new)
            else:  # the merged file is there before the first of the others goes
                self._write(dict([*{**self._read(), **self._new}.items()][-_MOST:]))
                for path in files:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise unusable(self.folder, error) from error
        self._new = {}

    def _read(self) -> dict[_Key, bytes]:
        self._known = {}
        for path in self._files():
            with contextlib.suppress(OSError, struct.error):  # merged meanwhile, or damaged
                records = _RECORD.iter_unpack(_own_bytes(path))
                self._known.update((record[:6], record[6]) for record in records)
        self._known.update(self._new)
        return self._known

    def _files(self) -> list[Path]:
        """Oldest first."""
        try:
            return sorted(path for path in self.folder.iterdir() if path.suffix == _SUFFIX)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _write(self, records: dict[_Key, bytes]) -> None:
        name = f"{time.time_ns():020}-{secrets.token_hex(4)}"
        aside = self.folder / f".{name}.tmp"
        try:
            with aside.open("xb") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.writelines(_RECORD.pack(*key, digest) for key, digest in records.items())
            aside.replace(self.folder / f"{name}{_SUFFIX}")
        finally:
            aside.unlink(missing_ok=True)


def _key(found: os.stat_result, kind: HashKind) -> _Key:
    return (
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        _KINDS[kind][0],
    )


def _own_bytes(path: Path) -> bytes:
    """Content of a file that nobody else can have written; of another's, none."""
    with path.open("rb") as stream:
        found = os.fstat(stream.fileno())
        ours = found.st_uid in {0, os.geteuid()} and not found.st_mode & stat.S_IWOTH
        return stream.read() if ours else b""
