"""Finds the copies of model files under some folders, never through a symbolic link.

What a folder is follows from its name and from what lies in it. Only payload is noted: refs,
listings, locks, `.no_exist`, unfinished downloads and hub's own shared store are never entered.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from envforge.adapters.files import unusable
from envforge.adapters.store.dedupe import claims
from envforge.adapters.store.dedupe.found import UNFINISHED, Found
from envforge.adapters.store.trees.folders import ENTER
from envforge.cache import layout
from envforge.cache.dedupe_plan import EDITED, FLAT, NEVER, SHARED_BLOBS, Folder

_DEEPEST: Final = 64
_RECORDS: Final = ((".cache", "huggingface", "download"), (".huggingface", "download"))
"""Where hub keeps what it knows of a `--local-dir`: since 0.24, and before."""


class _Local(NamedTuple):
    """Where in a `--local-dir` we are."""

    root: int
    """Descriptor."""
    records: tuple[str, ...]
    parts: tuple[str, ...]
    """Of our path below it."""

    def claim(self, name: str, modified: float) -> str:
        """What the download record says of a file here."""
        path = (*self.parts, name)
        return claims.from_download_record(self.root, self.records, path, modified)

    def below(self, name: str) -> _Local:
        return self._replace(parts=(*self.parts, name))


class Tree:
    """A walk; `found` is what it met."""

    def __init__(self, progress: Callable[[int], None] = lambda _names: None) -> None:
        """`progress` is told how many names were seen so far."""
        self.found = Found(progress)
        self._entered: set[tuple[int, int]] = set()

    def add(self, root: Path) -> None:
        """Look under a folder, which may be reached through symbolic links: it was named by hand.

        Raises:
            FileNotUsable: it is not there, or may not be read.
        """
        real = os.path.realpath(root)
        try:
            descriptor = os.open(real, ENTER)
        except OSError as error:
            raise unusable(root, error) from error
        collecting = gc.isenabled()
        gc.disable()  # thousands of tuples are made, and none is dropped
        try:
            self._look(descriptor, Folder.seen(real, os.fstat(descriptor)), 0, None)
        except OSError as error:
            raise unusable(root, error) from error
        finally:
            os.close(descriptor)
            if collecting:
                gc.enable()

    def _enter(self, parent: int, path: str, look: Callable[[int, Folder], None]) -> bool:
        """Whether there is such a folder; what cannot be entered is a problem, and no end."""
        try:
            descriptor = os.open(path.rpartition("/")[2], ENTER, dir_fd=parent)
        except FileNotFoundError:
            return False
        except OSError as error:
            self.found.problem(path, error)
            return True
        try:
            look(descriptor, Folder.seen(path, os.fstat(descriptor)))
        except OSError as error:
            self.found.problem(path, error)
        finally:
            os.close(descriptor)
        return True

    def _look(self, descriptor: int, folder: Folder, depth: int, local: _Local | None) -> None:
        identity = (folder.device, folder.inode)
        if identity in self._entered:
            return
        self._entered.add(identity)
        if depth > _DEEPEST:
            self.found.problems.append((folder.path, "lies too deep"))
            return
        above, _, name = folder.path.rpartition("/")
        if layout.REPO_FOLDER.fullmatch(name) and self._repo(descriptor, folder):
            return
        if name == "blobs" and layout.REPO_FOLDER.fullmatch(above.rpartition("/")[2]):
            self._blobs(descriptor, folder)
            return
        self._folder(descriptor, folder, depth, local)

    # --- a repository of huggingface_hub's cache --------------------------------------------

    def _repo(self, repo: int, folder: Folder) -> bool:
        """Whether it is one."""

        def snapshots(descriptor: int, inner: Folder) -> None:
            self._snapshots(repo, descriptor, inner)

        blobs = self._enter(repo, f"{folder.path}/blobs", self._blobs)
        return self._enter(repo, f"{folder.path}/snapshots", snapshots) or blobs

    def _blobs(self, descriptor: int, folder: Folder) -> None:
        self._entered.add((folder.device, folder.inode))
        with os.scandir(descriptor) as entries:
            files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
        self.found.blobs(files, folder)

    def _snapshots(self, repo: int, descriptor: int, folder: Folder) -> None:
        for commit in _listed(descriptor).folders:
            listing = _Listing(repo, commit)

            def look(inner: int, found: Folder, listing: _Listing = listing) -> None:
                self._snapshot(inner, found, (), listing)

            self._enter(descriptor, f"{folder.path}/{commit}", look)

    def _snapshot(
        self, descriptor: int, folder: Folder, parts: tuple[str, ...], listing: _Listing
    ) -> None:
        """Files instead of links: Windows, `HF_HUB_DISABLE_SYMLINKS`, caches copied with -L."""
        if len(parts) > _DEEPEST:
            self.found.problems.append((folder.path, "lies too deep"))
            return
        listed = _listed(descriptor)
        for entry in listed.files:
            if entry.name.startswith("."):
                self.found.hidden(folder, entry.name)
            if not entry.name.endswith(UNFINISHED):
                self.found.note(entry, folder, listing.claim((*parts, entry.name)))
        self.found.count(len(listed.files))
        for name in listed.folders:

            def look(inner: int, found: Folder, name: str = name) -> None:
                self._snapshot(inner, found, (*parts, name), listing)

            self._enter(descriptor, f"{folder.path}/{name}", look)

    # --- anything else ----------------------------------------------------------------------

    def _folder(self, descriptor: int, folder: Folder, depth: int, local: _Local | None) -> None:
        listed = _listed(descriptor)
        names = {entry.name for entry in listed.files}
        if layout.MARKER in names:
            self.found.stores.append(folder.path)
            return
        if SHARED_BLOBS in names:
            return
        local = local or _local(descriptor, listed.folders)
        for entry in listed.files:
            if FLAT.fullmatch(entry.name) and f"{entry.name}.json" in names:
                claim = claims.from_flat_record(descriptor, entry.name)
                self.found.note(entry, folder, claim)
                self.found.count(1)
            else:
                self._plain(entry, folder, local)
        for name in listed.folders:
            if name in NEVER:
                continue

            def look(inner: int, found: Folder, name: str = name) -> None:
                self._look(inner, found, depth + 1, local and local.below(name))

            self._enter(descriptor, f"{folder.path}/{name}", look)

    def _plain(self, entry: os.DirEntry[str], folder: Folder, local: _Local | None) -> None:
        if entry.name.startswith("."):
            self.found.hidden(folder, entry.name)
            return
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError as error:
            self.found.problem(f"{folder.path}/{entry.name}", error)
            return
        if found.st_size < EDITED or entry.name.endswith(UNFINISHED):
            return
        claim = local.claim(entry.name, found.st_mtime) if local else ""
        self.found.note(entry, folder, claim, plain=True)
        self.found.count(1)


class _Listing:
    """What a repository says of one commit; read when the first file asks for it."""

    def __init__(self, repo: int, commit: str) -> None:
        self._repo, self._commit = repo, commit
        self._read: Mapping[str, str] | None = None

    def claim(self, parts: tuple[str, ...]) -> str:
        if self._read is None:
            self._read = claims.from_listing(self._repo, self._commit)
        return self._read.get("/".join(parts), "")


class _Listed(NamedTuple):
    files: list[os.DirEntry[str]]
    folders: list[str]


def _listed(descriptor: int) -> _Listed:
    """Regular files and folders; symbolic links, pipes and devices are nobody's payload."""
    with os.scandir(descriptor) as entries:
        others = [entry for entry in entries if not entry.is_symlink()]  # most are, in a snapshot
    listed = _Listed([], [])
    for entry in others:
        if entry.is_file(follow_symlinks=False):
            listed.files.append(entry)
        elif entry.is_dir(follow_symlinks=False):
            listed.folders.append(entry.name)
    return listed


def _local(descriptor: int, folders: list[str]) -> _Local | None:
    """Whether a folder was filled by `--local-dir`."""
    for records in _RECORDS:
        if records[0] in folders and claims.is_there(descriptor, records):
            return _Local(descriptor, records, ())
    return None
