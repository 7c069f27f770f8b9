"""Existing caches are taken into the store, and become links to it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from envforge.cache.dedupe_plan import Copy, Rules
from envforge.errors import NotStoreOwner, StoreFull
from envforge.forge.caching import deduping
from envforge.forge.workplace import Workplace
from envforge.model.deduping import DedupeResult
from envforge.model.wording import counted

if TYPE_CHECKING:
    from envforge.adapters.store.dedupe.adopting import Adopted, Claimed
    from envforge.adapters.store.dedupe.found import Found
    from envforge.adapters.store.dedupe.outcome import Outcome
    from envforge.adapters.store.known_hashes import KnownHashes
    from envforge.adapters.store.store import Store


def adopt(
    workplace: Workplace, store: Store, paths: Sequence[Path], *, dry_run: bool
) -> DedupeResult:
    """See `ModelCache.adopt`."""
    began = time.monotonic()
    _see_that_it_takes(store)
    known = deduping.known_hashes(workplace)
    found = deduping.look(workplace, paths)
    read = deduping.name_the_unnamed(workplace, found, known)
    wanted, others = _wanted(found, store)
    _see_that_there_is_room(store, wanted)
    result = _planned(store, wanted) if dry_run else _carry_out(workplace, store, wanted, known)
    return replace(
        result,
        paths=tuple(paths),
        names=found.names,
        inodes=len(found.copies),
        read=read + result.read,
        left={"other owner": others} if others else {},
        problems=(*found.problems, *result.problems),
        stores=tuple(item for item in found.stores if item != os.path.realpath(store.root)),
        seconds=time.monotonic() - began,
    )


def _carry_out(
    workplace: Workplace, store: Store, wanted: Sequence[Claimed], known: KnownHashes
) -> DedupeResult:
    """Take files in, and link the others to them; what was found is told by the caller."""
    from envforge.adapters.store import leases
    from envforge.adapters.store.dedupe.outcome import Outcome

    hashes = [sha256 for item in wanted if (sha256 := store.named(item.claim))]
    outcome = Outcome()
    with leases.lease(store.root, hashes, purpose="adopt"):
        adopted = _take(workplace, store, wanted, known)
        journal = None
        if adopted.twins:
            outcome, journal = _link(workplace, adopted, known)
    outcome.proven += adopted.proven
    deduping.remember(workplace, known, outcome)
    return DedupeResult(
        paths=(),
        sets=len(adopted.twins),
        copies=outcome.copies,
        linked=outcome.names,
        freed=outcome.freed,
        read=outcome.read,
        adopted=adopted.taken + adopted.copied,
        adopted_bytes=adopted.bytes,
        copied=adopted.copied,
        damaged=(*adopted.damaged, *outcome.damaged),
        different=tuple(outcome.different),
        problems=(*adopted.problems, *outcome.problems),
        journal=journal,
    )


def _see_that_it_takes(store: Store) -> None:
    """A store's files are its owner's.

    Raises:
        NotStoreOwner: we are neither its owner nor root.
    """
    if not (store.is_ours or os.geteuid() == 0):
        owner = str(store.root.stat().st_uid)
        raise NotStoreOwner(path=str(store.root), owner=owner, task="take files into it")


def _wanted(found: Found, store: Store) -> tuple[list[Claimed], int]:
    """Claims with their copies by size, largest first; copies that we may not touch are counted."""
    from envforge.adapters.store.dedupe.adopting import Claimed

    ours = {os.geteuid(), store.root.stat().st_uid}
    wanted: list[Claimed] = []
    others = 0
    for claim, copies in found.claims.items():
        by_size: dict[int, list[Copy]] = {}
        for copy in copies:
            if os.geteuid() and copy.found.st_uid not in ours:
                others += 1
            else:
                by_size.setdefault(copy.found.st_size, []).append(copy)
        wanted += [Claimed(claim, same) for same in by_size.values()]
    return sorted(wanted, key=lambda item: -item.copies[0].found.st_size), others


def _see_that_there_is_room(store: Store, wanted: Sequence[Claimed]) -> None:
    """For what lies on another filesystem, and must be copied.

    Raises:
        StoreFull: it does not fit; nothing was written.
    """
    device = store.root.stat().st_dev
    missing = [
        item.copies[0].found.st_size
        for item in wanted
        if all(copy.found.st_dev != device for copy in item.copies) and not _holds(store, item)
    ]
    disk = os.statvfs(store.root)
    if sum(missing) > disk.f_bavail * disk.f_frsize:
        free = disk.f_bavail * disk.f_frsize
        raise StoreFull(path=str(store.root), resource="bytes", needed=sum(missing), available=free)
    if missing and disk.f_files and len(missing) > disk.f_favail:
        raise StoreFull(
            path=str(store.root), resource="inodes", needed=len(missing), available=disk.f_favail
        )


def _holds(store: Store, item: Claimed) -> bool:
    sha256 = store.named(item.claim)
    return sha256 is not None and store.holds(sha256, item.copies[0].found.st_size)


def _planned(store: Store, wanted: Sequence[Claimed]) -> DedupeResult:
    """What would happen, if all are what they are called."""
    device = store.root.stat().st_dev
    new = [item for item in wanted if not _holds(store, item)]
    gone = [copy for item in wanted for copy in item.copies[item in new :]]
    freed = [copy for copy in gone if copy.found.st_dev == device and not copy.has_other_names]
    return DedupeResult(
        paths=(),
        dry_run=True,
        sets=len(wanted),
        copies=len(freed),
        freed=sum(copy.found.st_blocks * 512 for copy in freed),
        to_read=sum(item.copies[0].found.st_size for item in wanted),
        adopted=len(new),
        adopted_bytes=sum(item.copies[0].found.st_size for item in new),
        copied=sum(item.copies[0].found.st_dev != device for item in new),
    )


def _take(
    workplace: Workplace, store: Store, wanted: Sequence[Claimed], known: KnownHashes
) -> Adopted:
    from envforge.adapters.store.dedupe.adopting import Adopted, Adopter
    from envforge.adapters.store.dedupe.crew import THREADS, Crew

    crew, adopted = Crew(), Adopted()
    work = iter(wanted)
    takers = [Adopter(store, known, crew, adopted) for _ in range(min(THREADS, len(wanted)))]
    with workplace.reporter.step(f"taking {counted(len(wanted), 'file')} into the store"):
        crew.run([partial(taker.run, crew.shared(work)) for taker in takers])
    return adopted


def _link(workplace: Workplace, adopted: Adopted, known: KnownHashes) -> tuple[Outcome, Path]:
    """Copies become links to the store's files: their owner is the store's from now on."""
    proven = {(item.copy.found.st_dev, item.copy.found.st_ino) for item in adopted.proven}
    remembered = deduping.is_known(known, "default")

    def is_known(claim: str, copy: Copy) -> bool:
        return (copy.found.st_dev, copy.found.st_ino) in proven or remembered(claim, copy)

    return deduping.carry_out(
        workplace,
        adopted.twins,
        proof="default",
        rules=Rules(any_owner=True, any_mode=True),
        is_known=is_known,
        first_only=True,
    )
