"""Hashes, samples and comparisons of files that somebody else may write meanwhile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from envforge.adapters.store.dedupe.crew import Crew
from envforge.cache import git_blob, layout
from envforge.cache.dedupe_plan import SAMPLE, WHOLE, sample_places

_CHUNK: Final = 1 << 20
"""Bytes read at once: they are still in the processor's cache when they are hashed."""


class Piece(NamedTuple):
    """Some bytes of a file."""

    place: int
    content: bytes


class Hashed(NamedTuple):
    """What was learnt by reading a file."""

    digest: str
    pieces: list[Piece]
    """All of a small file, samples of a large one."""


class Reader:
    """Buffers of one thread, and how much it read."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._mine = bytearray(_CHUNK)
        self._other = bytearray(_CHUNK)
        self.read = 0

    def hashed(self, descriptor: int, size: int, claim: str) -> Hashed:
        """Read a file wholly.

        Raises:
            Interrupted: everybody is to stop.
            OSError: it cannot be read, or is shorter than it was.
        """
        digest = _digest(claim, size)
        if size <= WHOLE:
            content = self._piece(descriptor, 0, size)
            digest.update(content)
            return Hashed(digest.hexdigest(), [Piece(0, content)])
        places = iter([*sample_places(claim, size), size])
        pieces: list[Piece] = []
        place = next(places)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        for start, count in self._chunks(size):
            buffer = self._fill(self._mine, descriptor, start, count)
            digest.update(buffer)
            while start <= place and place + SAMPLE <= start + count:
                pieces.append(Piece(place, bytes(buffer[place - start : place - start + SAMPLE])))
                place = next(places)
        if place < size:  # the last page lies across two chunks
            pieces.append(Piece(place, self._piece(descriptor, place, size - place)))
        return Hashed(digest.hexdigest(), pieces)

    def sampled(self, descriptor: int, size: int, claim: str) -> list[Piece]:
        """The same pieces, without reading the rest."""
        if size <= WHOLE:
            return [Piece(0, self._piece(descriptor, 0, size))]
        places = sample_places(claim, size)
        self._fetch(descriptor, places)
        return [Piece(place, self._piece(descriptor, place, SAMPLE)) for place in places]

    def agrees(self, descriptor: int, size: int, pieces: Sequence[Piece]) -> bool:
        """Whether another file holds these pieces."""
        if size > WHOLE:
            self._fetch(descriptor, [piece.place for piece in pieces])
        return all(
            self._piece(descriptor, place, len(content)) == content for place, content in pieces
        )

    def compared(
        self, descriptor: int, others: Sequence[int], size: int, claim: str
    ) -> tuple[str, list[bool]]:
        """Read files side by side: the hash of the first, and which others equal it."""
        digest, equal = _digest(claim, size), [True] * len(others)
        for one in (descriptor, *others):
            os.posix_fadvise(one, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        for start, count in self._chunks(size):
            buffer = self._fill(self._mine, descriptor, start, count)
            digest.update(buffer)
            for number, other in enumerate(others):
                if equal[number]:
                    self._fill(self._other, other, start, count)
                    equal[number] = _same(self._mine, self._other, count)
        return digest.hexdigest(), equal

    def _chunks(self, size: int) -> list[tuple[int, int]]:
        return [(start, min(_CHUNK, size - start)) for start in range(0, size, _CHUNK)]

    def _fill(self, buffer: bytearray, descriptor: int, start: int, count: int) -> memoryview:
        self._crew.check()
        view = memoryview(buffer)[:count]
        done = 0
        while done < count:
            more = os.preadv(descriptor, [view[done:]], start + done)
            if not more:
                raise OSError(None, "it became shorter while it was read")
            done += more
        self.read += count
        return view

    def _piece(self, descriptor: int, place: int, count: int) -> bytes:
        content = os.pread(descriptor, count, place)
        self.read += len(content)
        return content

    def _fetch(self, descriptor: int, places: Sequence[int]) -> None:
        """Ask for all pages at once, and for no others, so that the disk can sort them."""
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        for place in places:
            os.posix_fadvise(descriptor, place, SAMPLE, os.POSIX_FADV_WILLNEED)


def _same(mine: bytearray, other: bytearray, count: int) -> bool:
    if count == len(mine):
        return mine == other  # one memcmp; a comparison of views goes byte by byte
    return mine[:count] == other[:count]


def _digest(claim: str, size: int) -> Any:
    """A hash of the claim's kind: sha256, or sha1 as git takes it of a blob."""
    if layout.SHA256.fullmatch(claim):
        return hashlib.sha256()
    return git_blob.hasher(size)
