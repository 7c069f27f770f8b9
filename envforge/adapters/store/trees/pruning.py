"""Taking out of a view what an earlier lock had put there, and nothing that its user added."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property

from envforge.adapters.store.store import Store
from envforge.adapters.store.trees.folders import Folder
from envforge.adapters.store.trees.linking import is_our_copy
from envforge.cache import layout
from envforge.cache.view_plan import RepoTree, ViewPlan
from envforge.errors import ViewRefused
from envforge.model.models import MAIN, Repo
from envforge.model.views import RegisteredView


def prune(store: Store, plan: ViewPlan, before: RegisteredView, root: Folder) -> int:
    """Remove what `before` brought and `plan` does not show; how many names and blobs went.

    Raises:
        OSError: the disk refuses.
    """
    pruning = _Pruning(store, plan, before)
    if before.layout == "flat":  # a branch that means another commit has other names
        pruning.flat(root)
        return pruning.removed
    if set(before.modes) <= set(plan.sizes) and set(before.models) <= set(plan.models):
        return 0
    for repo in sorted({model.repo for model in before.models}):
        # Where its user has put something else, nothing is ours to remove.
        with suppress(FileNotFoundError, ViewRefused), root.enter(repo.folder) as folder:
            pruning.repo(repo, folder)
        root.remove_if_empty(repo.folder)
    return pruning.removed


class _Pruning:
    def __init__(self, store: Store, plan: ViewPlan, before: RegisteredView) -> None:
        self.before = before
        self.store = store
        self.wanted = {tree.repo: tree for tree in plan.repos}
        self.flat_names = {item.name for item in plan.flat}
        self.removed = 0

    def repo(self, repo: Repo, folder: Folder) -> None:
        """One repository: names before blobs, so that no client finds a name without one."""
        tree = self.wanted.get(repo) or RepoTree(repo=repo, blobs=(), snapshots=(), refs=())
        models = [model for model in self.before.models if model.repo == repo]
        commits = {model.commit for model in models}
        with suppress(FileNotFoundError, ViewRefused), folder.enter("refs") as refs:
            names = {model.revision for model in models} | {MAIN}
            self._refs(refs, names - dict(tree.refs).keys(), commits)
        with suppress(FileNotFoundError, ViewRefused), folder.enter("blobs") as blobs:
            self._snapshots(folder, blobs, tree, commits)
            self._blobs(folder, blobs)
        for name in ("refs", "snapshots", "trees", "blobs"):
            folder.remove_if_empty(name)

    def _refs(self, refs: Folder, names: set[str], commits: set[str]) -> None:
        for name in names:
            above, _, last = name.rpartition("/")
            with suppress(FileNotFoundError, ViewRefused), refs.descend(above) as here:
                said = here.read(last)
                if said is not None and said.decode("ascii", "replace").strip() in commits:
                    self.removed += here.remove(last)
            _remove_empty(refs, above)

    def _snapshots(self, folder: Folder, blobs: Folder, tree: RepoTree, commits: set[str]) -> None:
        wanted = {snapshot.commit: snapshot for snapshot in tree.snapshots}
        for commit in sorted(commits):
            snapshot = wanted.get(commit)
            keep = {path for path, _ in snapshot.files} if snapshot else set()
            with (
                suppress(FileNotFoundError, ViewRefused),
                folder.enter("snapshots") as snapshots,
                snapshots.enter(commit) as top,
            ):
                for path, blob in list(_links(top)):
                    if path not in keep and self._is_ours(blobs, blob):
                        self.removed += _remove(top, path)
            _remove_empty(folder, f"snapshots/{commit}")
            if snapshot is None or snapshot.listing is None:
                # it would promise clients more files than are left
                with suppress(FileNotFoundError, ViewRefused), folder.enter("trees") as trees:
                    trees.remove(f"{commit}.json")

    def _blobs(self, folder: Folder, blobs: Folder) -> None:
        shown: set[str] = set()
        with suppress(FileNotFoundError), folder.enter("snapshots") as snapshots:
            shown = {blob for _, blob in _links(snapshots)}
        for name in blobs.names():
            if layout.is_blob_name(name) and name not in shown and self._is_ours(blobs, name):
                self.removed += blobs.remove(name)

    def flat(self, root: Folder) -> None:
        """The flat cache: files whose names are hashes of address and ETag."""
        for name in root.names():
            is_dropped = layout.FLAT_NAME.fullmatch(name) and name not in self.flat_names
            if is_dropped and self._is_ours(root, name):
                self.removed += root.remove(name)
                root.remove(f"{name}.json")

    @cached_property
    def inodes(self) -> frozenset[tuple[int, int]]:
        """Those of the store that the view may hold."""
        found = (item for sha256 in self.before.modes for _, item in self.store.inodes(sha256))
        return frozenset((item.st_dev, item.st_ino) for item in found)

    def _is_ours(self, folder: Folder, name: str) -> bool:
        found = folder.look(name)
        if found is None:
            return False
        return (found.st_dev, found.st_ino) in self.inodes or is_our_copy(found)


def _links(top: Folder, path: str = "") -> Iterator[tuple[str, str]]:
    """Every symbolic link below that names a blob: its path, and the blob's name."""
    for name in top.names():
        found = top.look(name)
        if found is None:
            continue
        if stat.S_ISDIR(found.st_mode):
            with top.enter(name) as below:
                yield from _links(below, f"{path}{name}/")
        elif stat.S_ISLNK(found.st_mode):
            above, _, blob = (top.target(name) or "").rpartition("/")
            if above.endswith("/blobs"):
                yield f"{path}{name}", blob


def _remove(top: Folder, path: str) -> bool:
    above, _, name = path.rpartition("/")
    with top.descend(above) as folder:
        removed = folder.remove(name)
    _remove_empty(top, above)
    return removed


def _remove_empty(top: Folder, path: str) -> None:
    """Remove a folder and those above it, as far as nothing is left in them."""
    while path:
        above, _, name = path.rpartition("/")
        with suppress(FileNotFoundError, ViewRefused), top.descend(above) as folder:
            if not folder.remove_if_empty(name):
                return
        path = above
