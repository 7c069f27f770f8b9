"""`envforge cache gc`: what nothing uses any more goes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from envforge.adapters.files import unusable
from envforge.adapters.locking import hold
from envforge.adapters.quota import quota
from envforge.adapters.store.arriving import parts
from envforge.adapters.store.arriving.claims import Claims
from envforge.adapters.store.leases import leased
from envforge.adapters.store.looking import scan
from envforge.adapters.store.removing import sweeping, trash
from envforge.adapters.store.removing.sweeping import Sweepings
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry
from envforge.adapters.users import name_of
from envforge.cache import layout
from envforge.cache.collect_plan import Collected, CollectPlan, InUse, Limits, plan_collection
from envforge.cache.survey import StoredFile
from envforge.errors import FileNotUsable, NotStoreOwner
from envforge.forge.caching import gone_views
from envforge.forge.caching.locks_in_use import LocksInUse
from envforge.forge.caching.scanning import counter
from envforge.forge.workplace import Workplace

LOCK = "collecting.lock"
"""Under `leases/`: one collection at a time, so that the second need not plan the same."""


def collect(
    workplace: Workplace,
    store: Store,
    *,
    older_than: float,
    keep_free: int | None = None,
    views: bool = False,
    dry_run: bool = False,
) -> Collected:
    """Remove what nothing uses.

    Args:
        workplace: whose locks count, with those that the store remembers.
        store: where.
        older_than: seconds for which nothing must have happened to a file.
        keep_free: remove the oldest only until so many bytes are free; None: all that may go.
        views: remove the views of environments that are gone, first.
        dry_run: only say what would go.

    Raises:
        NotStoreOwner: only who owns the store removes from it.
        InvalidFile: a lock, lease or registered view cannot be read: nobody can tell what it needs.
        FileNotUsable: read-only, or the disk refuses.
    """
    run = _Run(workplace, store, older_than, keep_free, views=views)
    try:
        if dry_run:
            return run.dry(time.time())
        _refuse_others(store)
        lock = store.root / layout.LEASES / LOCK
        with hold(lock, waiting=workplace.reporter.note):
            run.remove_gone()
            lock.touch()  # where flock is missing, the file is as old as the first collection
            return run.real(lock.stat().st_mtime)  # the clock of the store's own filesystem
    except OSError as error:
        raise unusable(store.root, error) from error


def _refuse_others(store: Store) -> None:
    owner = store.root.stat().st_uid
    if owner != os.geteuid():
        raise NotStoreOwner(path=str(store.root), owner=name_of(owner))
    if scan.mount_flags(store.root)[1]:
        raise FileNotUsable(
            path=str(store.root),
            reason="it is mounted read-only",
            remedy="run it where the store can be written; here only `--dry-run` works",
        )


class _Run:
    """One collection."""

    def __init__(
        self,
        workplace: Workplace,
        store: Store,
        older_than: float,
        keep_free: int | None,
        *,
        views: bool = False,
    ) -> None:
        self._workplace = workplace
        self._store = store
        self._older_than = older_than
        self._keep_free = keep_free
        self._views = views
        self._removed_views: tuple[str, ...] = ()
        self._problems: tuple[str, ...] = ()
        self._locks = LocksInUse(workplace, store)
        self._ahead = 0.0
        """Seconds that the clock of the store's filesystem is ahead of ours."""
        self._is_dry_run = True

    def remove_gone(self) -> None:
        """Views of environments that are gone, where that was asked for."""
        if self._views:
            found = gone_views.gone(self._store)
            removed, problems = gone_views.remove(self._workplace, self._store, found)
            self._removed_views, self._problems = removed, problems

    def dry(self, now: float) -> Collected:
        gone = tuple(view.path for view in gone_views.gone(self._store))
        plan, files = self._plan(now)
        abandoned = parts.abandoned(self._store.root / layout.PARTS, older_than=self._older_than)
        swept = self._sweepings(now)
        return Collected(
            plan=plan,
            is_dry_run=True,
            parts=_amount(abandoned),
            damaged=_amount(swept.damaged),
            scraps=_amount(swept.scraps),
            views=gone if self._views else (),
            gone=() if self._views else gone,
            notes=self._notes(files, swept),
        )

    def real(self, now: float) -> Collected:
        self._ahead, self._is_dry_run = now - time.time(), False
        leftovers = trash.settle_leftovers(self._store, self._needed)
        abandoned = self._remove_parts()
        swept = self._sweepings(now)
        damaged, scraps = _removed(swept.damaged), _removed(swept.scraps)
        plan, files = self._plan(now)
        with self._workplace.reporter.step("removing what nothing uses"):
            removed = tuple(self._removed(plan))
        for note in self._locks.deleted:
            note.note.unlink(missing_ok=True)
        self._forget_views()
        return Collected(
            plan=plan,
            is_dry_run=False,
            removed=removed,
            needed_after_all=len(plan.remove) - len(removed),
            parts=abandoned,
            leftovers=leftovers,
            damaged=damaged,
            scraps=scraps,
            views=self._removed_views,
            gone=tuple(view.path for view in gone_views.gone(self._store)),
            notes=(*self._problems, *self._notes(files, swept)),
        )

    def _sweepings(self, now: float) -> Sweepings:
        return sweeping.sweepings(self._store.root, now=now, older_than=self._older_than)

    def _plan(self, now: float) -> tuple[CollectPlan, tuple[StoredFile, ...]]:
        root = self._store.root
        with self._workplace.reporter.step("looking at the store"):
            reads, _ = scan.mount_flags(root)
            count = counter(self._workplace)
            files = tuple(scan.stored_files(self._store, reads=reads, count=count))
            in_use = InUse(
                locked=self._locks.hashes(), leased=self._leased(), copied=self._copied()
            )
        limits = Limits(
            now=now, older_than=self._older_than, free=_free(root), keep_free=self._keep_free
        )
        return plan_collection(files, in_use, limits), files

    def _needed(self) -> frozenset[str]:
        return self._locks.hashes() | self._leased()

    def _leased(self) -> frozenset[str]:
        return leased(self._store.root, ahead=self._ahead, tidy=not self._is_dry_run)

    def _copied(self) -> frozenset[str]:
        """Hashes that views have as copies or reflinks, unless the view was deleted."""
        return frozenset(
            sha256
            for view in registry.views(self._store.root)
            if not registry.is_deleted(view.path)
            for sha256, mode in view.modes.items()
            if mode != "hardlink"
        )

    def _removed(self, plan: CollectPlan) -> Iterable[StoredFile]:
        outcomes = trash.discard(self._store, plan.remove, self._needed)
        for done, (item, is_removed) in enumerate(outcomes, 1):
            self._workplace.reporter.progress(done, len(plan.remove), "files")
            if is_removed:
                yield item

    def _remove_parts(self) -> tuple[int, int]:
        """Downloads that nobody goes on with; whoever comes for one now has the claim, or waits."""
        folder = self._store.root / layout.PARTS
        count = size = 0
        with Claims(folder) as claims:
            for path in parts.abandoned(folder, older_than=self._older_than):
                claim = claims.take(path.name.partition(".")[0])
                if claim is None:
                    continue
                if path in parts.abandoned(folder, older_than=self._older_than):  # nor meanwhile
                    count, size = count + 1, size + _disk(path)
                    path.unlink(missing_ok=True)
                claims.release(claim)
        return count, size

    def _forget_views(self) -> None:
        """Drop what is noted of views that were deleted: not of those on a disk out of sight."""
        root = self._store.root
        for view in registry.views(root):
            if registry.is_deleted(view.path):
                with registry.held(registry.folder(root), view.path, self._workplace.reporter.note):
                    if registry.is_deleted(view.path):  # a view has its folder before it is noted
                        registry.forget(root, view.path)

    def _notes(self, files: Iterable[StoredFile], swept: Sweepings) -> tuple[str, ...]:
        notes = [
            f"`{item.path}` is out of sight; what it named when it was prefilled stays"
            for item in self._locks.unseen
        ]
        if any(item.facts.read is None for item in files):
            notes.append("the store's mount records no reads: ages are those of the last change")
        if swept.shown:
            notes.append(
                f"views still have damaged files ({len(swept.shown)}):"
                " `envforge cache verify --repair` gives them good ones"
            )
        return tuple(notes)


def _free(root: Path) -> int:
    """Bytes that its owner can still write there."""
    try:
        found = os.statvfs(root)
        left, _ = quota(root.stat().st_dev)
    except OSError as error:
        raise unusable(root, error) from error
    free = found.f_bavail * found.f_frsize
    return free if left is None else min(free, left)


def _amount(paths: Sequence[Path]) -> tuple[int, int]:
    """Files and bytes."""
    return len(paths), sum(map(_disk, paths))


def _removed(paths: Sequence[Path]) -> tuple[int, int]:
    """Files and bytes, which are gone now."""
    amount = _amount(paths)
    for path in paths:
        path.unlink(missing_ok=True)
    return amount


def _disk(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0
