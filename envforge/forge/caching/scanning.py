"""`envforge cache scan`: who uses what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from envforge.adapters.files import is_folder
from envforge.adapters.store.looking import scan
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry
from envforge.cache import layout
from envforge.cache.survey import StoredFile, Survey, Tree
from envforge.cache.usage import Usage, usage
from envforge.errors import InvalidValue
from envforge.forge.caching import gone_views
from envforge.forge.caching.locks_in_use import LocksInUse
from envforge.forge.workplace import Workplace


def scan_store(workplace: Workplace, store: Store, caches: Sequence[Path] = ()) -> Usage:
    """Look at the store, its views, the locks and other caches; nothing is written or hashed.

    Raises:
        InvalidValue: one of `caches` is no folder.
    """
    for path in caches:
        if not is_folder(path):
            raise InvalidValue(what="cache", value=str(path), reason="is no folder")
    with workplace.reporter.step("looking at the store and its views"):
        return usage(_survey(workplace, store, caches))


def counter(workplace: Workplace) -> Callable[[int], None]:
    """Tells how many files were looked at."""
    looked = 0

    def count(more: int) -> None:
        nonlocal looked
        looked += more
        workplace.reporter.progress(looked, None, "files")

    return count


def _survey(workplace: Workplace, store: Store, caches: Sequence[Path]) -> Survey:
    count = counter(workplace)
    reads, read_only = scan.mount_flags(store.root)
    stored = tuple(scan.stored_files(store, reads=reads, count=count))
    views = [scan.look_at_view(view, count) for view in registry.views(store.root)]
    known = {Path(tree.path).resolve() for tree in views}
    named = dict.fromkeys(path.resolve() for path in caches)
    trees = (*views, *(scan.look_at_cache(path, count) for path in named if path not in known))
    locks, problems = LocksInUse(workplace, store).readable()
    return Survey(
        store=str(store.root),
        stored=stored,
        trees=trees,
        locks=locks,
        names=_names(store, stored, trees),
        aside=scan.aside_files(store),
        reads_recorded=reads,
        read_only=read_only,
        gone=tuple(view.path for view in gone_views.gone(store)),
        problems=(*problems, *(tree.problem for tree in trees if tree.problem)),
    )


def _names(store: Store, stored: Iterable[StoredFile], trees: Iterable[Tree]) -> dict[str, str]:
    """The sha256 of blobs that git's sha1 names and that are no inode of the store."""
    inodes = {item.facts.key for item in stored}
    etags = {
        item.name
        for tree in trees
        for item in tree.files
        if item.role == "blob" and item.facts.key not in inodes and layout.SHA1.fullmatch(item.name)
    }
    found = {etag: store.named(etag) for etag in etags}
    return {etag: sha256 for etag, sha256 in found.items() if sha256}
