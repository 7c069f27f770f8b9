"""Views on disk: made, refreshed, and rid of what an earlier lock had put there.

Every step can be repeated, and the refs come last: a kill at any moment leaves a tree in which
clients find the old snapshots or the new ones, and the next run goes on.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envforge.adapters.files import unusable
from envforge.adapters.store.leases import lease
from envforge.adapters.store.serving.service_client import ServedStore
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry
from envforge.adapters.store.trees.folders import Folder, Owner
from envforge.adapters.store.trees.linking import Placer, is_our_copy
from envforge.adapters.store.trees.pruning import prune
from envforge.adapters.store.trees.roots import open_root
from envforge.cache.view_plan import Blob, FlatFile, RepoTree, Snapshot, ViewPlan
from envforge.errors import NotCached
from envforge.model.models import LinkMode
from envforge.model.views import RegisteredView, ViewedModel, ViewLayout, ViewResult
from envforge.model.wording import counted
from envforge.ports import Reporter

_TELL_EVERY: Final = 200
"""Files between two words on how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a view is, and for whom."""

    path: Path
    """Absolute."""
    owner: Owner
    environment: str = ""
    source: str = ""
    """Folder of that environment."""
    layout: ViewLayout = "hub"
    hub: str = ""
    """See `RegisteredView.hub`."""
    prefill: str = ""
    """What `cache prefill` is to be told where files are missing; empty: the environment."""

    @classmethod
    def of(cls, view: RegisteredView) -> Place:
        """Where one that is known lies, to make it anew."""
        return cls(
            path=Path(view.path),
            owner=Owner.of(view.owner),
            environment=view.environment,
            source=view.source,
            layout=view.layout,
            hub=view.hub,
        )


def build(
    store: Store, plan: ViewPlan, place: Place, reporter: Reporter, *, locks: Path
) -> ViewResult:
    """Let the view be what the plan says; files that its user added stay.

    Args:
        store: where the files lie; one that a service serves links through that.
        plan: what to show.
        place: where, and for whom.
        reporter: is told how far it is.
        locks: a folder of ours for lock files, where the store is not ours to write.

    Raises:
        NotCached: files are missing in the store; nothing was written.
        ViewRefused: something is in the way, or copies do not fit.
        WrongBytes: a file of the store is damaged.
        FileNotUsable: the disk refuses.
    """
    path, ours = str(place.path), _may_write(store)
    with ExitStack() as stack:
        if ours:
            stack.enter_context(lease(store.root, plan.sizes, purpose="view"))
            locks = registry.folder(store.root)
        elif isinstance(store, ServedStore):
            store.client.lease(plan.sizes)
        _refuse_missing(store, plan, place)
        root = stack.enter_context(open_root(place.path, place.owner, make=True))
        owner = store.owner if ours else None
        stack.enter_context(registry.held(locks, path, reporter.note, owner=owner))
        building = _Building(store, plan, place, reporter)
        if ours:
            registry.register(store.root, building.intent())
        try:
            building.carry_out(root)
        except OSError as error:
            raise unusable(place.path, error) from error
        known = _register(store, building.outcome(), ours=ours)
        user = os.fstat(root.descriptor).st_uid
    return building.result(user, registered=known)


def drop(store: Store, place: Place, reporter: Reporter, *, locks: Path) -> ViewResult:
    """Take away what was brought to a view, and the folder where nothing else is in it.

    Raises:
        ViewRefused, FileNotUsable: see `build`.
    """
    result = build(store, ViewPlan(models=()), place, reporter, locks=locks)
    with suppress(OSError):  # its user added something, or the folder above is not ours
        place.path.rmdir()
        if _may_write(store):
            registry.forget(store.root, str(place.path))
    return result


def _register(store: Store, view: RegisteredView, *, ours: bool) -> bool:
    """Let the store know of the view, ourselves or through its service."""
    if ours:
        registry.register(store.root, view)
    elif isinstance(store, ServedStore):
        return store.client.register(view)
    return ours


def _may_write(store: Store) -> bool:
    """Whether leases and the registry are ours to write; a mounted copy may be read-only."""
    return (store.is_ours or os.geteuid() == 0) and os.access(store.root, os.W_OK)


def _refuse_missing(store: Store, plan: ViewPlan, place: Place) -> None:
    missing = [sha for sha, size in plan.sizes.items() if not store.holds(sha, size)]
    if missing:
        raise NotCached(
            what=f"a part of the models ({len(missing)} of {counted(len(plan.sizes), 'file')},"
            f" {min(missing)[:12]}…)",
            searched=(str(store.root),),
            remedy=f"fetch them: `envforge cache prefill {place.prefill or place.environment}`",
        )


class _Building:
    """One run over one view."""

    def __init__(self, store: Store, plan: ViewPlan, place: Place, reporter: Reporter) -> None:
        self.store, self.plan, self.place, self.reporter = store, plan, place, reporter
        self.before = registry.find(store.root, str(place.path))
        self.modes: dict[str, LinkMode] = {}
        self.placed = self.removed = 0
        self.done, self.total = 0, sum(len(t.blobs) for t in plan.repos) + len(plan.flat)
        self.total += plan.names
        self.copied = self.to_copy = 0
        self.placer = Placer(store, copied=self._tell_copied, to_come=self._to_come)

    def carry_out(self, root: Folder) -> None:
        """Do it."""
        root.remove_asides()
        for tree in self.plan.repos:
            with root.enter(tree.repo.folder, make=True) as folder:
                self._repo(tree, folder)
        for item in self.plan.flat:
            self._flat(item, root)
        if self.before is not None:
            self.removed = prune(self.store, self.plan, self.before, root)

    def _repo(self, tree: RepoTree, folder: Folder) -> None:
        folder.remove_asides()
        with folder.enter("blobs", make=True) as blobs:
            for blob in tree.blobs:
                self._blob(blob, blobs, aside=folder)
        for snapshot in tree.snapshots:
            self._snapshot(snapshot, folder)
        with folder.enter("refs", make=True) as refs:
            for name, commit in tree.refs:
                above, _, last = name.rpartition("/")
                with refs.descend(above, make=True) as here:
                    here.write(last, commit.encode("ascii"), aside=folder, sync=True)

    def _blob(self, blob: Blob | FlatFile, folder: Folder, *, aside: Folder) -> None:
        mode, new = self.placer.place(
            blob.sha256, blob.name, folder, aside=aside, kept=lambda: self._kept(blob, folder)
        )
        self.modes[blob.sha256] = mode
        self.placed += new
        self._tell()

    def _kept(self, blob: Blob | FlatFile, folder: Folder) -> LinkMode | None:
        """How an earlier run brought a file that is no hardlink; None: it did not, or not so."""
        found = folder.look(blob.name)
        if found is None or not is_our_copy(found) or found.st_size != blob.size:
            return None
        mode = self.before.modes.get(blob.sha256) if self.before else None
        return "reflink" if mode == "reflink" else "copy"

    def _snapshot(self, snapshot: Snapshot, folder: Folder) -> None:
        files = sorted((*path.rpartition("/")[::2], blob) for path, blob in snapshot.files)
        with (
            folder.enter("snapshots", make=True) as snapshots,
            snapshots.enter(snapshot.commit, make=True) as top,
        ):
            for path, group in itertools.groupby(files, key=lambda item: item[0]):
                up = "../" * (3 + path.count("/") if path else 2)
                with top.descend(path, make=True) as here:
                    for _, name, blob in group:
                        here.symlink(name, f"{up}blobs/{blob}", aside=folder)
                        self._tell()
        if snapshot.listing is not None:
            with folder.enter("trees", make=True) as trees:
                trees.write(f"{snapshot.commit}.json", snapshot.listing.encode(), aside=folder)

    def _flat(self, item: FlatFile, root: Folder) -> None:
        self._blob(item, root, aside=root)
        root.write(f"{item.name}.json", item.metadata.encode("ascii"), aside=root)
        self._tell()

    # --- how far it is ----------------------------------------------------------------------

    def _tell(self) -> None:
        self.done += 1
        if self.done % _TELL_EVERY == 0 or self.done == self.total:
            self.reporter.progress(self.done, self.total, "files")

    def _tell_copied(self, count: int) -> None:
        self.copied += count
        self.reporter.progress(self.copied, self.to_copy, "bytes", "copying")

    def _to_come(self) -> int:
        """Bytes of the files that this run has not seen to yet."""
        sizes = self.plan.sizes
        self.to_copy = sum(size for sha, size in sizes.items() if sha not in self.modes)
        return self.to_copy

    # --- what is known of it ----------------------------------------------------------------

    def intent(self) -> RegisteredView:
        """What may lie there as soon as we begin: a kill must not make us forget any of it."""
        modes: dict[str, LinkMode] = dict.fromkeys(self.plan.sizes, "copy")
        if self.before is None:
            return self._view(self.plan.models, modes)
        return self._view((*self.plan.models, *self.before.models), modes | dict(self.before.modes))

    def outcome(self) -> RegisteredView:
        """What lies there."""
        return self._view(self.plan.models, self.modes)

    def _view(self, models: Iterable[ViewedModel], modes: Mapping[str, LinkMode]) -> RegisteredView:
        return RegisteredView(
            path=str(self.place.path),
            owner=self.place.owner.uid,
            environment=self.place.environment,
            source=self.place.source,
            layout=self.place.layout,
            hub=self.place.hub,
            models=tuple(sorted(set(models))),
            modes=modes,
        )

    def result(self, owner: int, *, registered: bool) -> ViewResult:
        """What it came to."""
        notes = list(self.plan.notes)
        if owner != self.place.owner.uid:
            notes.append(
                f"its folders belong to user {owner}: user {self.place.owner.uid} can read the"
                " view, and clients cannot add files to it"
            )
        sizes = self.plan.sizes
        return ViewResult(
            path=str(self.place.path),
            layout=self.place.layout,
            owner=self.place.owner.uid,
            environment=self.place.environment,
            models=self.plan.models,
            files=self.plan.names,
            placed=self.placed,
            removed=self.removed,
            modes=dict(sorted(Counter(self.modes.values()).items())),
            copied_bytes=sum(sizes[sha] for sha, mode in self.modes.items() if mode != "hardlink"),
            why_copied=self.placer.why,
            notes=tuple(notes),
            registered=registered,
        )
