"""Looks at the files of a store and of cache trees; `cache/usage.py` adds them up.

Trees belong to their users, and root scans them, too: every step goes from an open folder to a name
in it and follows no symbolic link (see `folders.py`). Nothing but refs is read, so no atime moves.
"""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from envforge.adapters.files import is_gone, reason
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees.folders import ENTER, READ
from envforge.adapters.users import name_of
from envforge.cache import layout
from envforge.cache.survey import (
    FileFacts,
    FileRole,
    StoredFile,
    Tree,
    TreeFile,
    TreeSnapshot,
)
from envforge.model.views import RegisteredView

Count = Callable[[int], None]
"""Is told how many files more were looked at."""
_DEEPEST: Final = 64
"""Folders within folders: each is an open descriptor."""
_TELL_EVERY: Final = 500
_LENT: Final = re.compile(r"(?:\.\./)+blobs/([0-9a-f]{2}/[0-9a-f]+)")
"""Where a blob points to that hub >= 1.32 keeps once for all repositories of a cache."""


def mount_flags(path: Path | int) -> tuple[bool, bool]:
    """Whether reads are recorded there (atime), and whether it is read-only."""
    flags = os.statvfs(path).f_flag
    read_only = bool(flags & os.ST_RDONLY)
    return not (read_only or flags & getattr(os, "ST_NOATIME", 1024)), read_only


def facts_of(found: os.stat_result, *, reads: bool) -> FileFacts:
    """What lstat said."""
    return FileFacts(
        device=found.st_dev,
        inode=found.st_ino,
        size=found.st_size,
        disk=found.st_blocks * 512 or found.st_size,  # some FUSE filesystems tell no blocks
        links=found.st_nlink,
        owner=found.st_uid,
        read=found.st_atime if reads else None,
        changed=max(found.st_mtime, found.st_ctime),
    )


# --- the store ------------------------------------------------------------------------------


def stored_files(store: Store, *, reads: bool, count: Count) -> Iterator[StoredFile]:
    """Every inode of the store; files that vanish meanwhile are left out."""
    for looked, entry in enumerate(store.blobs(), 1):
        sha256, _, copy = entry.name.partition(".")
        if not layout.SHA256.fullmatch(sha256) or not (copy or "0").isdigit():
            continue  # what `SHA256.match` lets through and no store writes
        with suppress(FileNotFoundError):
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                facts = facts_of(found, reads=reads)
                yield StoredFile(sha256=sha256, copy=int(copy or 0), facts=facts)
        if looked % _TELL_EVERY == 0:
            count(_TELL_EVERY)


def aside_files(store: Store) -> dict[str, tuple[FileFacts, ...]]:
    """Files of the store that are no content, by their folder."""
    return {
        name: tuple(_regular(store.root / name))
        for name in (layout.PARTS, layout.QUARANTINE, layout.TRASH)
    }


def _regular(folder: Path) -> Iterator[FileFacts]:
    try:
        entries = list(os.scandir(folder))
    except OSError:  # made when it is first needed; of no matter to who may not look
        return
    for entry in entries:
        with suppress(FileNotFoundError):
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield facts_of(found, reads=False)


# --- cache trees ----------------------------------------------------------------------------


def look_at_view(view: RegisteredView, count: Count) -> Tree:
    """A view that the store knows; one that is gone has no files, and a problem."""
    if is_gone(Path(view.path)):
        return _gone(view)
    looking = _Looking(
        Path(view.path), count, pinned={(m.repo.shown, m.commit) for m in view.models}
    )
    looking.look()
    return Tree(
        path=view.path,
        user=name_of(view.owner),
        environment=view.environment,
        files=tuple(looking.files),
        snapshots=looking.snapshots(),
        modes=view.modes,
        models=tuple((model.repo.shown, model.commit) for model in view.models),
        problem=looking.problem,
    )


def _gone(view: RegisteredView) -> Tree:
    return Tree(
        path=view.path,
        user=name_of(view.owner),
        environment=view.environment,
        problem=f"the view `{view.path}` is gone; `envforge cache gc` forgets it",
    )


def look_at_cache(path: Path, count: Count) -> Tree:
    """A cache that the store knows nothing of."""
    looking = _Looking(path, count)
    looking.look()
    return Tree(
        path=str(path),
        user=name_of(looking.owner) if looking.owner is not None else "?",
        files=tuple(looking.files),
        snapshots=looking.snapshots(),
        problem=looking.problem,
    )


class _Looking:
    """One walk over one tree."""

    def __init__(
        self, path: Path, count: Count, pinned: set[tuple[str, str]] | None = None
    ) -> None:
        self.path = path
        self.files: list[TreeFile] = []
        self.owner: int | None = None
        self.problem = ""
        self._count = count
        self._looked = 0
        self._pinned = pinned or set()
        self._blobs: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._refs: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._lent: list[tuple[str, str, str]] = []
        """Repository, blob, and what it is called in the hub's own shared `blobs/`."""
        self._shared: dict[str, FileFacts] = {}

    def look(self) -> None:
        """Walk; what cannot be seen becomes the problem."""
        try:
            descriptor = os.open(self.path, ENTER)
        except OSError as error:
            self._note(self.path, error)
            return
        try:
            self.owner = os.fstat(descriptor).st_uid
            self._reads, _ = mount_flags(descriptor)
            self._walk(descriptor, ())
        finally:
            os.close(descriptor)
        for repo, blob, name in self._lent:
            if name in self._shared:
                self._add("blob", repo, blob, self._shared[name])

    def snapshots(self) -> tuple[TreeSnapshot, ...]:
        """The revisions that were seen, sorted."""
        return tuple(
            TreeSnapshot(
                repo=repo,
                commit=commit,
                refs=tuple(sorted(self._refs.get((repo, commit), ()))),
                is_pinned=(repo, commit) in self._pinned,
                blobs=frozenset(blobs),
            )
            for (repo, commit), blobs in sorted(self._blobs.items())
        )

    def _walk(self, folder: int, parts: tuple[str, ...]) -> None:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._entry(entry, folder, (*parts, entry.name))
        except OSError as error:
            self._note(self.path.joinpath(*parts), error)

    def _entry(self, entry: os.DirEntry[str], folder: int, parts: tuple[str, ...]) -> None:
        try:
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                self._enter(entry.name, folder, parts)
            elif stat.S_ISLNK(found.st_mode):
                self._link(parts, os.readlink(entry.name, dir_fd=folder))
            elif stat.S_ISREG(found.st_mode):
                self._file(entry.name, folder, parts, facts_of(found, reads=self._reads))
        except FileNotFoundError:
            return  # a client is at work
        self._looked += 1
        if self._looked % _TELL_EVERY == 0:
            self._count(_TELL_EVERY)

    def _enter(self, name: str, folder: int, parts: tuple[str, ...]) -> None:
        if len(parts) > _DEEPEST:
            self.problem = self.problem or f"`{self.path}` holds folders {_DEEPEST} deep"
            return
        if len(parts) == 3 and parts[1] == "snapshots" and (repo := repo_of(parts[0])):
            self._blobs.setdefault((repo, parts[2]), set())  # an empty one is one, too
        try:
            below = os.open(name, ENTER, dir_fd=folder)
        except OSError as error:
            self._note(self.path.joinpath(*parts), error)
            return
        try:
            self._walk(below, parts)
        finally:
            os.close(below)

    def _link(self, parts: tuple[str, ...], target: str) -> None:
        repo = repo_of(parts[0])
        if not repo or len(parts) < 3:
            return
        if parts[1] == "snapshots" and len(parts) > 3:
            self._blobs[repo, parts[2]].add(target.rpartition("/")[2])
        elif parts[1] == "blobs" and (lent := _LENT.fullmatch(target)):
            self._lent.append((repo, parts[2], lent[1]))

    def _file(self, name: str, folder: int, parts: tuple[str, ...], facts: FileFacts) -> None:
        repo = repo_of(parts[0])
        kind = parts[1] if repo and len(parts) > 2 else ""
        if name.endswith(".incomplete"):
            self._add("partial", repo, name, facts)
        elif kind == "blobs" and not name.endswith(".lock"):
            self._add("blob", repo, name, facts)
        elif kind == "snapshots" and len(parts) > 3:
            self._add("snapshot", repo, "/".join(parts[3:]), facts, commit=parts[2])
        elif kind == "refs":
            self._refs[repo, _read(name, folder)].add("/".join(parts[2:]))
        elif parts[0] == "blobs" and len(parts) == 3:
            self._shared["/".join(parts[1:])] = facts
        elif len(parts) == 1 and layout.FLAT_NAME.fullmatch(name):
            self._add("flat", "", name, facts)
        elif facts.links > 1:
            self._add("other", repo, "/".join(parts), facts)

    def _add(
        self, role: FileRole, repo: str, name: str, facts: FileFacts, *, commit: str = ""
    ) -> None:
        self.files.append(TreeFile(role=role, repo=repo, name=name, commit=commit, facts=facts))

    def _note(self, place: Path, error: OSError) -> None:
        self.problem = self.problem or f"`{place}` cannot be looked at: {reason(error)}"


def repo_of(folder: str) -> str:
    """`org/name`, or `dataset:org/name`, for a repository's folder; empty: it is none."""
    found = layout.REPO_FOLDER.fullmatch(folder)
    if found is None:
        return ""
    name = found[2].replace("--", "/")
    return name if found[1] == "model" else f"{found[1]}:{name}"


def _read(name: str, folder: int) -> str:
    """A ref: one line."""
    descriptor = os.open(name, READ, dir_fd=folder)
    try:
        return os.read(descriptor, 200).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
