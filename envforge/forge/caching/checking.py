"""`envforge cache verify`: is everything there, and is it what the locks say?"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envforge.adapters.hub import reach
from envforge.adapters.store.acting import acting_as
from envforge.adapters.store.looking import integrity, view_integrity
from envforge.adapters.store.looking.integrity import Hashing
from envforge.adapters.store.store import READ_ONLY, Store
from envforge.adapters.store.trees import registry, views
from envforge.adapters.users import name_of
from envforge.cache import health, view_plan
from envforge.cache.health import Needed, Stored
from envforge.cache.survey import LockedModels
from envforge.errors import EnvforgeError, InvalidFile, NoSuchEnvironment, NotStoreOwner
from envforge.forge.caching import model_files, viewing
from envforge.forge.caching.deduping import known_hashes
from envforge.forge.caching.locks_in_use import LocksInUse
from envforge.forge.workplace import Workplace
from envforge.model.health import Flaw, StoreHealth
from envforge.model.models import LockedModel, ModelsLock
from envforge.model.views import RegisteredView
from envforge.model.wording import counted

if TYPE_CHECKING:
    from envforge.forge.caching.front import ModelCache

_BAD_BYTES = frozenset({"wrong-size", "wrong-bytes", "no-file"})
_BAD_VIEWS = frozenset({"view-file", "view-ref", "view-copy"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """What to look at."""

    locks: tuple[LockedModels, ...]
    views: tuple[RegisteredView, ...]
    all_files: bool
    """Whether files that no lock names count, too."""
    flaws: tuple[Flaw, ...] = ()
    """Of what could not be read."""


@dataclass(slots=True)
class _Seen:
    """What one look came to."""

    flaws: tuple[Flaw, ...]
    stored: list[Stored] = field(default_factory=list)
    read: int = 0


def verify(
    cache: ModelCache,
    workplace: Workplace,
    names: Sequence[str] = (),
    *,
    deep: bool,
    repair: bool,
) -> StoreHealth:
    """Look, and with `repair` mend and look again.

    Raises:
        NoStore, UntrustedStore: there is none that can be looked at.
        NoSuchEnvironment: a name is that of no environment, repository or view.
        NotStoreOwner: only its owner can mend a store.
    """
    store = cache.store
    if repair and not (store.is_ours or os.geteuid() == 0):
        owner = store.root.stat().st_uid
        raise NotStoreOwner(path=str(store.root), owner=name_of(owner))
    scope = _scope(workplace, store, names)
    seen = _look(workplace, store, scope, deep=deep, also=None)
    before, notes, read = seen.flaws, [], seen.read
    if repair and before:
        notes = _Mending(cache, workplace, store, scope).mend(before)
        flawed = frozenset(flaw.sha256 for flaw in before)
        seen = _look(workplace, store, scope, deep=deep, also=flawed)
        read += seen.read
    left = {flaw.key for flaw in seen.flaws}
    return StoreHealth(
        store=str(store.root),
        files=len(seen.stored),
        size=sum(item.size for item in seen.stored),
        read=read,
        views=len(scope.views),
        locks=tuple(sorted({item.environment for item in scope.locks})),
        flaws=seen.flaws,
        mended=tuple(flaw for flaw in before if flaw.key not in left),
        notes=tuple(notes),
        deep=deep,
    )


# --- what to look at ------------------------------------------------------------------------


def _scope(workplace: Workplace, store: Store, names: Sequence[str]) -> _Scope:
    views, flaws = _views(store)
    locks, problems = LocksInUse(workplace, store).readable()
    if names:
        return _named(workplace, names, locks, views)
    unread = (_unseen("a lock", problem) for problem in problems)
    return _Scope(locks=locks, views=views, all_files=True, flaws=(*flaws, *unread))


def _named(
    workplace: Workplace,
    names: Sequence[str],
    locks: Sequence[LockedModels],
    views: Sequence[RegisteredView],
) -> _Scope:
    """Only what was named: environments, repositories, folders of views."""
    chosen: list[LockedModels] = []
    shown: dict[str, RegisteredView] = {}
    for name in names:
        of_path = [view for view in views if view.path == os.path.abspath(name)]  # noqa: PTH100
        if of_path:
            shown |= {view.path: view for view in of_path}
            chosen += _shown_by(of_path, locks)
            continue
        try:
            folder = model_files.locate(workplace, name)
        except NoSuchEnvironment:
            found = _of_repo(name, locks)
            if not found:
                raise
            chosen += found
            shown |= {v.path: v for v in views if any(m.repo.shown == name for m in v.models)}
            continue
        lock = model_files.read_lock(workplace, folder)
        if lock is None:
            raise model_files.no_models(folder.name)
        user = name_of(folder.stat().st_uid)
        chosen.append(LockedModels(environment=folder.name, user=user, lock=lock))
        shown |= {view.path: view for view in views if view.environment == folder.name}
    return _Scope(locks=tuple(chosen), views=tuple(shown.values()), all_files=False)


def _of_repo(name: str, locks: Iterable[LockedModels]) -> list[LockedModels]:
    return _filtered(locks, lambda model: model.repo.shown == name)


def _shown_by(views: Sequence[RegisteredView], locks: Sequence[LockedModels]) -> list[LockedModels]:
    shown = [model for view in views for model in health.shown_models(view, locks)]
    return _filtered(locks, lambda model: any(model is item for item in shown))


def _filtered(
    locks: Iterable[LockedModels], keep: Callable[[LockedModel], bool]
) -> list[LockedModels]:
    found = []
    for item in locks:
        models = tuple(model for model in item.lock.models if keep(model))
        if models:
            found.append(replace(item, lock=ModelsLock(models=models)))
    return found


def _views(store: Store) -> tuple[tuple[RegisteredView, ...], tuple[Flaw, ...]]:
    try:
        return registry.views(store.root), ()
    except InvalidFile as error:
        return (), (_unseen(error.path, str(error)),)


def _unseen(path: str, message: str) -> Flaw:
    return Flaw(kind="unseen", path=path, message=message)


# --- looking --------------------------------------------------------------------------------


def _look(
    workplace: Workplace,
    store: Store,
    scope: _Scope,
    *,
    deep: bool,
    also: frozenset[str] | None,
) -> _Seen:
    """Look at everything.

    Args:
        workplace: who is told how far it is.
        store: which.
        scope: what of it.
        deep: read the bytes.
        also: in a second look, the only files that are read again.
    """
    needed = health.needed(scope.locks)
    owner, mode = store.root.stat().st_uid, stat.S_IMODE(store.root.stat().st_mode)
    with workplace.reporter.step("looking at the store"):
        stored = list(integrity.stored_files(store, None if scope.all_files else needed))
    chosen = [
        item
        for item in stored
        if item.is_file
        and (health.must_be_read(item, owner) or (deep and (also is None or item.sha256 in also)))
    ]
    hashing = _hashing(workplace, sum(item.size for item in chosen))
    names = integrity.index(store) if deep else {}
    if chosen:
        with workplace.reporter.step(f"reading {counted(len(chosen), 'file')}"):
            read = hashing.all_of(chosen, git=frozenset(sha for _, sha in names.values()))
        by_path = {item.path: item for item in read}
        stored = [by_path.get(item.path, item) for item in stored]
        _save(hashing)
    flaws = [
        *scope.flaws,
        *health.judge_store(stored, needed, root=str(store.root), owner=owner),
        *health.judge_folders(integrity.folder_modes(store), mode=mode),
        *health.judge_index(names, hashing.git),
        *_judge_views(workplace, store, scope, stored, deep=deep, hashing=hashing),
    ]
    return _Seen(flaws=health.in_order(flaws), stored=stored, read=hashing.read)


def _hashing(workplace: Workplace, total: int) -> Hashing:
    return Hashing(
        progress=lambda done: workplace.reporter.progress(done, max(total, done), "bytes"),
        known=known_hashes(workplace),
    )


def _save(hashing: Hashing) -> None:
    """What was read is remembered, where that can be written; it only saves time."""
    if hashing.known is not None:
        with contextlib.suppress(EnvforgeError):
            hashing.known.save()


def _judge_views(
    workplace: Workplace,
    store: Store,
    scope: _Scope,
    stored: Sequence[Stored],
    *,
    deep: bool,
    hashing: Hashing,
) -> list[Flaw]:
    if not scope.views:
        return []
    everything = stored if scope.all_files else integrity.stored_files(store)
    inodes = {item.inode: item.sha256 for item in everything}
    damaged = integrity.damaged(store)
    flaws: list[Flaw] = []
    with workplace.reporter.step(f"looking at {counted(len(scope.views), 'view')}"):
        for done, view in enumerate(scope.views, 1):
            facts = view_integrity.look_at_view(
                view,
                _plan(workplace, view, scope.locks),
                inodes,
                damaged=damaged,
                deep=deep,
                told=hashing.told,
            )
            flaws += health.judge_view(facts)
            workplace.reporter.progress(done, len(scope.views), "views")
    return flaws


def _plan(
    workplace: Workplace, view: RegisteredView, locks: Sequence[LockedModels]
) -> view_plan.ViewPlan:
    models = health.shown_models(view, locks)
    if view.layout == "hub":
        return view_plan.plan_view(models)
    ours = view.hub in {"", reach.shown(workplace.settings)}  # whose address may hold a password
    return view_plan.plan_flat(models, reach.endpoint(workplace.settings) if ours else view.hub)


# --- mending --------------------------------------------------------------------------------


class _Mending:
    """Puts aside what is damaged, fetches it again, and makes the views that had it anew."""

    def __init__(
        self, cache: ModelCache, workplace: Workplace, store: Store, scope: _Scope
    ) -> None:
        self.cache, self.workplace, self.store, self.scope = cache, workplace, store, scope
        self.notes: list[str] = []

    def mend(self, flaws: Sequence[Flaw]) -> list[str]:
        """Do what can be done; what was done, and what stood in the way."""
        lost = {flaw.sha256 for flaw in flaws if flaw.kind in _BAD_BYTES and self._put_aside(flaw)}
        for flaw in sorted(flaws, key=lambda flaw: flaw.kind != "foreign"):
            self._set_right(flaw)  # whose a file is comes first: its owner sets the mode
        lost |= {flaw.sha256 for flaw in flaws if flaw.kind == "missing"}
        self._fetch(lost, health.needed(self.scope.locks))
        gone = {flaw.view for flaw in flaws if flaw.kind == "view-gone"}
        flawed = {flaw.view for flaw in flaws if flaw.kind in _BAD_VIEWS}
        views, _ = _views(self.store)
        for view in views:
            if view.path in gone:
                if not registry.is_deleted(view.path):
                    self.notes.append(f"the view {view.path} is out of sight: is its disk mounted?")
                    continue
                registry.forget(self.store.root, view.path)
                self.notes.append(f"forgot the view {view.path}, which is not there any more")
            elif view.path in flawed or lost & view.modes.keys():
                self._make_again(view)
        return self.notes

    def _put_aside(self, flaw: Flaw) -> bool:
        try:
            kept = self.store.quarantine(Path(flaw.path))
        except OSError as error:
            self.notes.append(f"{flaw.path} could not be put aside: {error.strerror}")
            return False
        self.notes.append(f"put aside as {kept}")
        return True

    def _set_right(self, flaw: Flaw) -> None:
        """Owner and mode of what has the right bytes; wrong names of the index go."""
        path, owner = Path(flaw.path), self.store.owner
        with contextlib.suppress(FileNotFoundError):  # it was put aside
            try:
                if flaw.kind == "foreign":
                    os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
                    return
                with acting_as(owner):  # who can have put a link there meanwhile
                    if flaw.kind == "wrong-name":
                        path.unlink()
                    elif flaw.kind == "unreadable" and path.is_dir():
                        mode = stat.S_IMODE(owner.st_mode)
                        path.chmod(stat.S_IMODE(path.stat().st_mode) | (mode & 0o2055))
                    elif flaw.kind in {"writable", "unreadable"}:
                        path.chmod(READ_ONLY)
            except PermissionError as error:
                self.notes.append(f"{flaw.path}: {error.strerror}")

    def _fetch(self, lost: set[str], needed: dict[str, Needed]) -> None:
        environments = {name for sha in lost & needed.keys() for name in needed[sha].environments}
        unnamed = len(lost - needed.keys())
        if unnamed:
            self.notes.append(f"{unnamed} of them no lock names: nothing to fetch")
        for name in sorted(environments):
            self._fetch_one(name)

    def _fetch_one(self, name: str) -> None:
        try:
            self.cache.prefill([name], view=False)
        except EnvforgeError as error:
            self.notes.append(f"{name} was not fetched: {error}")

    def _make_again(self, view: RegisteredView) -> None:
        models = health.shown_models(view, self.scope.locks)
        if len(models) < len(view.models):
            self.notes.append(f"no lock names all models of the view {view.path}")
            return
        try:
            views.build(
                self.store,
                _plan(self.workplace, view, self.scope.locks),
                views.Place.of(view),
                self.workplace.reporter,
                locks=viewing.lock_folder(self.workplace),
            )
        except EnvforgeError as error:
            self.notes.append(f"the view {view.path} was not made again: {error}")
        else:
            self.notes.append(f"made the view {view.path} again")
