"""A pack is read: first all of it, to prove it, then single members, proven again as they come.

Nothing in it steers where anything is written: members are found by the hashes that locks name.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from envforge.adapters.files import unusable
from envforge.errors import BrokenPack
from envforge.formats.packs import pack_index, pack_tar
from envforge.formats.packs.pack_index import INDEX, RECEIPT
from envforge.model.pack import PackIndex, PackMember

_CHUNK: Final = 1 << 20
_MOST_MEMBERS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member's bytes lie."""

    offset: int
    size: int


class OpenPack:
    """A pack on a disk, open; made by `open_pack`, which has looked at its outline."""

    def __init__(
        self, path: Path, stream: BinaryIO, places: dict[str, Place], index: PackIndex
    ) -> None:
        self.path = path
        self.index = index
        self._stream = stream
        self._places = places

    def verify(self, watch: Callable[[int, int], None]) -> int:
        """Read every byte and compare every hash with index and receipt; bytes read.

        Raises:
            BrokenPack: for the first member that is not what it should be.
        """
        total = sum(item.size for item in self.index.members)
        stated = pack_index.read_receipt(self.read_small(RECEIPT), str(self.path))
        listed = {item.name: item.sha256 for item in self.index.members}
        listed[INDEX] = hashlib.sha256(self.read_small(INDEX)).hexdigest()
        if stated != listed:
            raise self._broken("its receipt states other members than its index lists")
        done = 0
        for member in self.index.members:
            done = self.check(member, done, lambda now: watch(now, total))
        return done

    def check(self, member: PackMember, done: int, watch: Callable[[int], None]) -> int:
        """See that a member has the bytes that the index tells; `done` and its size.

        Raises:
            BrokenPack: it has others.
        """
        digest = hashlib.sha256()
        for chunk in self.chunks(member):
            digest.update(chunk)
            done += len(chunk)
            watch(done)
        if digest.hexdigest() != member.sha256:
            raise self._broken(
                f"`{member.name}` has sha256 {digest.hexdigest()}, not {member.sha256}"
            )
        return done

    def chunks(self, member: PackMember, start: int = 0) -> Iterator[bytes]:
        """The bytes of a member, from `start` on.

        Raises:
            BrokenPack: the file ends before.
            FileNotUsable: the disk does not give them.
        """
        place = self._places[member.name]
        at, end = place.offset + start, place.offset + place.size
        while at < end:
            try:
                chunk = os.pread(self._stream.fileno(), min(_CHUNK, end - at), at)
            except OSError as error:
                raise unusable(self.path, error) from error
            if not chunk:
                raise self._broken(f"it ends within `{member.name}`")
            at += len(chunk)
            yield chunk

    def copy(self, member: PackMember, target: Path) -> None:
        """Write a member's bytes to a new file, proven once more on the way.

        Raises:
            BrokenPack: they have changed since they were verified.
            FileNotUsable: the disk refuses.
        """
        digest = hashlib.sha256()
        try:
            with target.open("xb") as stream:
                for chunk in self.chunks(member):
                    digest.update(chunk)
                    stream.write(chunk)
        except OSError as error:
            raise unusable(target, error) from error
        if digest.hexdigest() != member.sha256:
            target.unlink()
            raise self._broken(f"`{member.name}` has changed while it was read")

    def read_small(self, name: str) -> bytes:
        """All bytes of a member that fits into memory.

        Raises:
            BrokenPack: there is none of this name, or it is larger than such files are.
        """
        place = self._places.get(name)
        if place is None:
            raise self._broken(f"it has no `{name}`")
        if place.size > pack_index.MOST:
            raise self._broken(f"`{name}` is {place.size} bytes large, which no such file is")
        member = PackMember(name=name, kind="environment", sha256="", size=place.size)
        return b"".join(self.chunks(member))

    def _broken(self, reason: str) -> BrokenPack:
        return BrokenPack(path=str(self.path), reason=reason)


@contextmanager
def open_pack(path: Path) -> Iterator[OpenPack]:
    """Open a pack, and look at its outline: every header, the index, the end.

    Raises:
        BrokenPack: it is none, is cut off, or holds anything but plain members.
        FileNotUsable: it cannot be read.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise unusable(path, error) from error
    with stream:
        try:
            places = _outline(path, stream)
        except OSError as error:
            raise unusable(path, error) from error
        pack = OpenPack(path, stream, places, PackIndex(platform="", environments=(), members=()))
        pack.index = pack_index.read_index(pack.read_small(INDEX), str(path))
        listed = [(item.name, item.size) for item in pack.index.members]
        lies = [(name, place.size) for name, place in places.items()]
        if lies[-2:] != [(name, places[name].size) for name in (INDEX, RECEIPT) if name in places]:
            raise BrokenPack(path=str(path), reason="it does not end with index and receipt")
        if listed != lies[:-2]:
            raise BrokenPack(path=str(path), reason="its index lists other members than it holds")
        yield pack


def _outline(path: Path, stream: BinaryIO) -> dict[str, Place]:
    """Where each member lies; the file is walked over, not read."""
    length = stream.seek(0, os.SEEK_END)
    places: dict[str, Place] = {}
    at = 0
    while True:
        stream.seek(at)
        block = stream.read(pack_tar.BLOCK)
        if block == bytes(pack_tar.BLOCK):
            break
        name, place = _member(path, block, at)
        if name in places or len(places) >= _MOST_MEMBERS:
            raise BrokenPack(path=str(path), reason=f"`{name}` stands in it twice")
        places[name] = place
        at = place.offset + place.size + pack_tar.padding(place.size)
        if at > length:
            raise BrokenPack(path=str(path), reason=f"it is cut off within `{name}`")
        stream.seek(place.offset + place.size)
        if any(stream.read(pack_tar.padding(place.size))):
            raise BrokenPack(path=str(path), reason=f"something is hidden behind `{name}`")
    stream.seek(at)
    if length != at + len(pack_tar.END) or stream.read() != pack_tar.END:
        raise BrokenPack(path=str(path), reason="it does not end where its members do")
    return places


def _member(path: Path, block: bytes, at: int) -> tuple[str, Place]:
    if len(block) < pack_tar.BLOCK:
        what = "it is empty" if not at and not block else "it is cut off"
        raise BrokenPack(path=str(path), reason=what)
    try:
        name, size = pack_tar.read_header(block)
    except ValueError as error:
        if at:
            raise BrokenPack(path=str(path), reason=f"at byte {at}: {error}") from error
        raise BrokenPack(
            path=str(path),
            reason="it is something else",
            remedy="`envforge pack ENV -o FILE` makes one; other tools' files: `envforge adopt`",
        ) from error
    return name, Place(at + pack_tar.BLOCK, size)
