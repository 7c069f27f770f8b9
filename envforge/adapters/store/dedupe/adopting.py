"""Takes files of existing caches into a store where they lie: a link more, and no copy.

A file of the store must not be written by anybody. So it is first made read-only and the store
owner's, then it is seen that nobody holds it open for writing, then its bytes are hashed, and only
then it gets its name in the store. Where that cannot be seen, or across filesystems, a copy is
taken in instead.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from envforge.adapters.store import copying, holders
from envforge.adapters.store.acting import acting_as
from envforge.adapters.store.dedupe.crew import Crew
from envforge.adapters.store.dedupe.exchanging import may_be_written
from envforge.adapters.store.dedupe.folders import Changed, Folders, why
from envforge.adapters.store.dedupe.outcome import Known
from envforge.adapters.store.dedupe.reading import Reader
from envforge.adapters.store.known_hashes import KnownHashes, kind_of
from envforge.adapters.store.store import READ_ONLY, Store
from envforge.cache import layout
from envforge.cache.dedupe_plan import Copy, Folder, Twins

How = Literal["held", "taken", "copied"]


class Claimed(NamedTuple):
    """Copies of one claim and size: one of them is to be in the store."""

    claim: str
    copies: list[Copy]


@dataclass(kw_only=True)
class Adopted:
    """What the store has got."""

    twins: list[Twins] = field(default_factory=list)
    """The store's file, and the copies that can be made links to it."""
    taken: int = 0
    copied: int = 0
    bytes: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    proven: list[Known] = field(default_factory=list)


class Adopter:
    """Takes in claim after claim; one for each thread, on a common `Adopted`."""

    def __init__(self, store: Store, known: KnownHashes, crew: Crew, adopted: Adopted) -> None:
        self.store = store
        self.known = known
        self.adopted = adopted
        self.folders = Folders()
        self.reader = Reader(crew)
        self._owner = (store.owner.st_uid, store.owner.st_gid)
        self._device = store.owner.st_dev

    def run(self, work: Iterator[Claimed]) -> None:
        """Until nothing is left."""
        try:
            for wanted in work:
                self._take(wanted)
        finally:
            self.folders.close()

    def _take(self, wanted: Claimed) -> None:
        size = wanted.copies[0].found.st_size
        left = sorted(wanted.copies, key=self._last)
        sha256 = self.store.named(wanted.claim)
        how: How | None = "held" if sha256 and self.store.holds(sha256, size) else None
        while how is None and left:
            copy = left[0]
            sha256, how = self._take_one(wanted.claim, copy)
            if how is None:
                left.pop(0)  # damaged, or it cannot be read
        if sha256 is None or how is None:
            return
        self.store.name(wanted.claim, sha256)
        self._note(wanted.claim, sha256, size, how, left)

    def _last(self, copy: Copy) -> tuple[bool, bool, int]:
        """Order: what can be linked, what nobody edits, what has most names."""
        return copy.found.st_dev != self._device, copy.plain, -copy.found.st_nlink

    def _note(self, claim: str, sha256: str, size: int, how: How, left: list[Copy]) -> None:
        path = self.store.path(sha256)
        found = path.lstat()
        folder = path.parent.stat()
        where = Folder(str(path.parent), folder.st_dev, folder.st_ino)
        kept = Copy(found, [(where, path.name)])
        if how != "held":
            self.adopted.bytes += size
            self.adopted.taken += how == "taken"
            self.adopted.copied += how == "copied"
            self.adopted.proven.append(Known(kept, claim, time.time_ns()))
        others = [
            copy
            for copy in left
            if copy.found.st_dev == self._device and copy.found.st_ino != found.st_ino
        ]
        if others:
            self.adopted.twins.append(Twins(claim, [kept, *others]))

    def _take_one(self, claim: str, copy: Copy) -> tuple[str | None, How | None]:
        """The sha256 of what came into the store, and how; None: this copy cannot."""
        try:
            descriptor = self.folders.open(copy)
        except (Changed, OSError) as error:
            self._problem(copy, error)
            return None, None
        try:
            if copy.found.st_dev == self._device and self._freeze(descriptor, copy):
                return self._link(descriptor, claim, copy)
            return self._copy(descriptor, claim, copy)
        except OSError as error:
            self._problem(copy, error)
            return None, None
        finally:
            os.close(descriptor)

    # --- in place ---------------------------------------------------------------------------

    def _freeze(self, descriptor: int, copy: Copy) -> bool:
        """Make it the store owner's and read-only; whether nobody can write it from now on."""
        if os.geteuid() not in {0, copy.found.st_uid}:
            return False
        if (copy.found.st_uid, copy.found.st_gid) != self._owner:
            if os.geteuid():
                return False
            os.fchown(descriptor, *self._owner)
        os.fchmod(descriptor, READ_ONLY)
        if may_be_written(descriptor) is not False:  # nor where the filesystem cannot tell
            self._thaw(descriptor, copy)
            return False
        return True

    def _thaw(self, descriptor: int, copy: Copy) -> None:
        if os.geteuid() == 0:
            os.fchown(descriptor, copy.found.st_uid, copy.found.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(copy.found.st_mode))

    def _link(self, descriptor: int, claim: str, copy: Copy) -> tuple[str | None, How | None]:
        sha256 = self._proven(descriptor, claim, copy)
        if sha256 is None:
            self._thaw(descriptor, copy)
            return None, None
        try:
            self.store.take(descriptor, sha256)
        except FileExistsError:  # by another name of the hub's, or another process
            return sha256, "held"
        except OSError as error:
            self._thaw(descriptor, copy)
            if error.errno != errno.EXDEV:  # another mount of the same filesystem
                raise
            return self._copy(descriptor, claim, copy)
        return sha256, "taken"

    def _proven(self, descriptor: int, claim: str, copy: Copy) -> str | None:
        """Its sha256, if the bytes are what they are called."""
        size = copy.found.st_size
        untouched = os.fstat(descriptor).st_mtime_ns == copy.found.st_mtime_ns
        if not untouched or self.known.get(copy.found, kind_of(claim)) != claim:
            digest = self.reader.hashed(descriptor, size, claim).digest
            if digest != claim:
                self.adopted.damaged.append((copy.path, claim))
                return None
        if kind_of(claim) == "sha256":
            return claim
        return self.reader.hashed(descriptor, size, "0" * 64).digest

    # --- as a copy --------------------------------------------------------------------------

    def _copy(self, descriptor: int, claim: str, copy: Copy) -> tuple[str | None, How | None]:
        """A part of ours is filled, hashed and taken in."""
        part = self.store.root / layout.PARTS / f"{claim}.{holders.me()}.part"
        with acting_as(self.store.owner):
            target = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            size = copy.found.st_size
            copying.copy(descriptor, target, size)
            if self.reader.hashed(target, size, claim).digest != claim:
                self.adopted.damaged.append((copy.path, claim))
                return None, None
            sha256 = claim
            if kind_of(claim) != "sha256":
                sha256 = self.reader.hashed(target, size, "0" * 64).digest
            self.store.insert(part, sha256)
        finally:
            os.close(target)
            part.unlink(missing_ok=True)
        return sha256, "copied"

    def _problem(self, copy: Copy, error: Changed | OSError) -> None:
        self.adopted.problems.append((copy.path, why(error)))
