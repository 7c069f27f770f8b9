"""A pack is written member by member, and gone on with where an earlier run ended."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from envforge.formats.packs import pack_tar
from envforge.model.pack import MemberKind, PackMember

_CHUNK: Final = 1 << 20


def digest_of(path: Path) -> str:
    """The sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class Differs(Exception):
    """The bytes of a member are not those it was to have; nothing of it was kept."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


class PackWriter:
    """Writes to a file, or to a pipe, in one go.

    Args:
        stream: a file open for reading and writing, at its beginning; or anything that takes bytes.
        goes_on: whether the file may hold the beginning of the same pack.
        watch: told the number of bytes that are written.
    """

    def __init__(
        self, stream: BinaryIO, *, goes_on: bool = False, watch: Callable[[int], None] | None = None
    ) -> None:
        self._stream = stream
        self._goes_on = goes_on
        self._watch = watch or (lambda _: None)
        self._hash = hashlib.sha256()
        self._members: list[PackMember] = []
        self.size = 0
        """Bytes of the pack so far."""
        self.resumed = 0
        """Members that were there."""

    @property
    def members(self) -> tuple[PackMember, ...]:
        """Those written so far."""
        return tuple(self._members)

    @property
    def sha256(self) -> str:
        """Of all that was written."""
        return self._hash.hexdigest()

    # --- what is there ----------------------------------------------------------------------

    def keep(self, name: str, kind: MemberKind, sha256: str) -> bool:
        """Take a member over from the earlier run; False: it has to be written.

        What follows the first that is not as it should be is cut off.
        """
        if not self._goes_on:
            return False
        size = self._kept(name, sha256)
        if size is None:
            self._goes_on = False
            self._stream.seek(self.size)
            self._stream.truncate()
            return False
        self._note(PackMember(name=name, kind=kind, sha256=sha256, size=size))
        self.resumed += 1
        return True

    def _kept(self, name: str, sha256: str) -> int | None:
        """Size of the member that lies here, where it is the right one and whole."""
        block = self._stream.read(pack_tar.BLOCK)
        with suppress(ValueError):
            found, size = pack_tar.read_header(block)
            trial, digest = self._hash.copy(), hashlib.sha256()
            trial.update(block)
            if found == name and self._read(size, trial, digest) and digest.hexdigest() == sha256:
                pad = self._stream.read(pack_tar.padding(size))
                if pad == bytes(pack_tar.padding(size)):
                    trial.update(pad)
                    self._hash = trial
                    return size
        return None

    def _read(self, size: int, *hashes: hashlib._Hash) -> bool:
        while size:
            chunk = self._stream.read(min(size, _CHUNK))
            if not chunk:
                return False
            for item in hashes:
                item.update(chunk)
            size -= len(chunk)
        return True

    # --- what comes -------------------------------------------------------------------------

    def add(self, name: str, kind: MemberKind, size: int, source: BinaryIO, sha256: str) -> None:
        """Write a member, proven by its hash on the way.

        Raises:
            Differs: the source has other bytes, or another number of them.
            OSError: the disk refuses, or nobody reads the pipe.
        """
        before, digest = self._hash.copy(), hashlib.sha256()
        start = self.size
        self._write(pack_tar.header(name, size))
        left = size
        while left and (chunk := source.read(min(left, _CHUNK))):
            digest.update(chunk)
            self._write(chunk)
            left -= len(chunk)
            self._watch(self.size)
        if left or source.read(1) or digest.hexdigest() != sha256:
            self._take_back(start, before)
            said = f"{size - left} bytes" if left else digest.hexdigest()
            raise Differs(said)
        self._write(bytes(pack_tar.padding(size)))
        self.size = start
        self._note(PackMember(name=name, kind=kind, sha256=sha256, size=size))

    def finish(self) -> None:
        """Write the end."""
        if self._goes_on:
            self._stream.truncate()
        self._write(pack_tar.END)
        self._stream.flush()

    def _note(self, member: PackMember) -> None:
        self.size += pack_tar.BLOCK + member.size + pack_tar.padding(member.size)
        self._members.append(member)
        self._watch(self.size)

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._hash.update(data)
        self.size += len(data)

    def _take_back(self, start: int, before: hashlib._Hash) -> None:
        """Drop what was written of a member, where that can be done."""
        self._hash, self.size = before, start
        if self._stream.seekable():
            self._stream.seek(start)
            self._stream.truncate()
