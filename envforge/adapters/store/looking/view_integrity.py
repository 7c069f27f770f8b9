"""Looks at what lies in a view; its user may change it at any time, so no link is followed."""

from __future__ import annotations

import itertools
import stat
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from envforge.adapters.files import open_to_look, reason
from envforge.adapters.store.looking.integrity import Inode, digest_of
from envforge.adapters.store.trees.folders import Folder, Owner
from envforge.adapters.store.trees.roots import open_root
from envforge.cache.health import InView, ViewFacts
from envforge.cache.view_plan import RepoTree, Snapshot, ViewPlan
from envforge.errors import EnvforgeError, ViewRefused
from envforge.model.views import RegisteredView

_COMMIT_LENGTH: Final = 64
"""Bytes, with what an editor may have put behind it."""
_ABSENT: Final = suppress(FileNotFoundError, ViewRefused)
"""What is missing, or is something else, is left out: the same to who reads it."""


def look_at_view(
    view: RegisteredView,
    plan: ViewPlan,
    inodes: Mapping[Inode, str],
    *,
    damaged: Collection[Inode],
    deep: bool,
    told: Callable[[int], None],
) -> ViewFacts:
    """What lies where a view should be.

    Args:
        view: as it is noted.
        plan: what it should hold.
        inodes: of the store's files, to their sha256.
        damaged: inodes of files with wrong bytes.
        deep: read what is no link to the store.
        told: is told how many bytes were read.
    """
    try:
        with open_root(Path(view.path), Owner.us()) as root:
            looking = _Looking(inodes, damaged, deep=deep, told=told)
            for tree in plan.repos:
                with _ABSENT, root.enter(tree.repo.folder) as folder:
                    looking.repo(tree, folder)
            for flat in plan.flat:
                looking.file(("", flat.name), flat.sha256, root)
    except FileNotFoundError:
        return ViewFacts(view=view, plan=plan, is_there=False)
    except EnvforgeError as error:
        return ViewFacts(view=view, plan=plan, unseen=str(error))
    except OSError as error:
        return ViewFacts(view=view, plan=plan, unseen=reason(error))
    return ViewFacts(
        view=view, plan=plan, refs=looking.refs, links=looking.links, files=looking.files
    )


class _Looking:
    """One view."""

    def __init__(
        self,
        inodes: Mapping[Inode, str],
        damaged: Collection[Inode],
        *,
        deep: bool,
        told: Callable[[int], None],
    ) -> None:
        self.inodes, self.damaged, self.deep, self.told = inodes, damaged, deep, told
        self.refs: dict[tuple[str, str], str] = {}
        self.links: dict[tuple[str, str, str], str] = {}
        self.files: dict[tuple[str, str], InView] = {}

    def repo(self, tree: RepoTree, folder: Folder) -> None:
        """A repository's folder."""
        name = tree.repo.folder
        with _ABSENT, folder.enter("blobs") as blobs:
            for blob in tree.blobs:
                self.file((name, blob.name), blob.sha256, blobs)
        for snapshot in tree.snapshots:
            with _ABSENT, folder.descend(f"snapshots/{snapshot.commit}") as top:
                self._snapshot(name, snapshot, top)
        for ref, _ in tree.refs:
            above, _, last = f"refs/{ref}".rpartition("/")
            with _ABSENT, folder.descend(above) as here:
                said = here.read(last, _COMMIT_LENGTH)
                if said is not None:
                    self.refs[name, ref] = said.decode("ascii", "replace").strip()

    def _snapshot(self, repo: str, snapshot: Snapshot, top: Folder) -> None:
        paths = sorted(path.rpartition("/")[::2] for path, _ in snapshot.files)
        for above, group in itertools.groupby(paths, key=lambda item: item[0]):
            with _ABSENT, top.descend(above) as here:
                for _, last in group:
                    target = here.target(last)
                    if target is not None:
                        path = f"{above}/{last}" if above else last
                        self.links[repo, snapshot.commit, path] = target

    def file(self, key: tuple[str, str], sha256: str, folder: Folder) -> None:
        """One blob."""
        found = folder.look(key[1])
        if found is None:
            return
        is_file = stat.S_ISREG(found.st_mode)
        inode = found.st_dev, found.st_ino
        is_linked = self.inodes.get(inode) == sha256
        digest = ""
        if self.deep and is_file and not is_linked:
            descriptor = open_to_look(key[1], dir_fd=folder.descriptor)
            digest = digest_of(descriptor, told=self.told).sha256
        self.files[key] = InView(
            is_file=is_file,
            size=found.st_size,
            is_linked=is_linked,
            is_damaged=inode in self.damaged,
            found=digest,
        )
