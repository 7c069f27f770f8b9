"""`envforge cache prefill`: what is locked comes into the store, once, and into the views."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from envforge.adapters.environments import MODELS_LOCK_YML
from envforge.adapters.hub import reach
from envforge.adapters.hub.client import HubClient
from envforge.adapters.hub.transfer import HubTransfer
from envforge.adapters.store.arriving import parts
from envforge.adapters.store.arriving.fetching import Fetcher, Stop, Transfer, is_held
from envforge.adapters.store.leases import lease
from envforge.adapters.store.removing import known_locks
from envforge.adapters.store.store import Store
from envforge.adapters.users import name_of
from envforge.cache import fetch_plan, layout
from envforge.errors import NoSuchEnvironment, NoSuchModel, NotCached
from envforge.forge.caching import model_files
from envforge.forge.workplace import Workplace
from envforge.formats.models import model_spec
from envforge.model import fetching
from envforge.model.fetching import Fetched, FetchPlan, Prefilled, Wanted
from envforge.model.models import ModelRequest, ModelsLock
from envforge.model.prefix import Disk
from envforge.model.wording import counted, listed

if TYPE_CHECKING:
    from envforge.forge.caching.front import ModelCache

_ROUNDS: Final = 4
"""A collection may take a file away between a look and the lease, so we look again."""
_NAMED: Final = 3
"""Files that a message names; more are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Targets:
    """What was asked for."""

    locks: tuple[tuple[Path, ModelsLock], ...] = ()
    """Folders of environments, with their locks."""
    repos: tuple[str, ...] = ()
    """Repositories that were named, as they were."""
    wanted: tuple[Wanted, ...] = ()
    """All files, those of repositories that no environment locks included."""


def prefill(
    cache: ModelCache,
    workplace: Workplace,
    names: Sequence[str] = (),
    *,
    jobs: int,
    view: bool,
    dry_run: bool,
    source: Transfer | None = None,
) -> Prefilled:
    """Bring what is locked into the store.

    Args:
        cache: whose store it is, and who makes the views.
        workplace: settings, environments and who is told how far it is.
        names: environments or repositories; empty: every environment that has models.
        jobs: files that are fetched at once.
        view: make, or refresh, the views of the environments.
        dry_run: only say what would be fetched.
        source: where bytes come from instead of the hub: a pack.
    """
    began = time.monotonic()
    store = cache.store
    targets = _targets(workplace, names)
    filling = _Filling(workplace, store, jobs, source)
    if dry_run:
        plan, fetched = filling.plan(targets.wanted), Fetched()
        made: tuple[str, ...] = ()
    else:
        for folder, lock in targets.locks:
            _remember(store, folder, lock)
        with ExitStack() as leases:
            plan, fetched = filling.fill(targets.wanted, leases)
            made = _views(cache, workplace, targets.locks) if view else ()
    return Prefilled(
        store=str(store.root),
        plan=plan,
        fetched=fetched,
        views=made,
        repos=targets.repos,
        seconds=time.monotonic() - began,
        dry_run=dry_run,
    )


def _remember(store: Store, folder: Path, lock: ModelsLock) -> None:
    """Leave a note for collections, whoever runs them from wherever."""
    if store.is_ours:
        known_locks.remember(store.root, folder / MODELS_LOCK_YML, lock.files)


def _views(
    cache: ModelCache, workplace: Workplace, locks: Iterable[tuple[Path, ModelsLock]]
) -> tuple[str, ...]:
    results = [result for folder, _ in locks for result in cache.view(str(folder))]
    for result in results:
        for note in result.notes:
            workplace.reporter.note(note)
        if result.copied_bytes:
            workplace.reporter.warn(f"`{result.path}` has copies: {result.why_copied}")
    return tuple(result.path for result in results)


# --- what is meant --------------------------------------------------------------------------


def _targets(workplace: Workplace, names: Sequence[str]) -> _Targets:
    """Read the locks of environments, and ask the hub for what no environment locks.

    Raises:
        NoSuchEnvironment, StaleLock, InvalidFile: an environment's lock cannot be used.
        NoSuchModel, Unreachable: a repository cannot be had.
    """
    folders: list[Path] = [] if names else list(model_files.with_models(workplace))
    wanted: list[Wanted] = []
    repos: list[str] = []
    for name in names:
        found = _folder_or_files(workplace, name)
        if isinstance(found, Path):
            folders.append(found)
        else:
            repos.append(name)
            wanted += found
    locks = []
    for folder in dict.fromkeys(folders):
        lock = model_files.current_lock(workplace, str(folder))
        if not lock.models:
            if names:
                raise model_files.no_models(folder.name)
            continue
        locks.append((folder, lock))
        wanted += fetching.of_lock(lock.models)
    if not wanted and not names:
        workplace.reporter.note(
            f"no environment in `{workplace.settings.envs_folder}` has models:"
            " `envforge cache lock ENV --model org/name` adds one"
        )
    return _Targets(locks=tuple(locks), repos=tuple(repos), wanted=tuple(wanted))


def _folder_or_files(workplace: Workplace, name: str) -> Path | tuple[Wanted, ...]:
    """An environment's folder, or the files of the repository that goes by this name."""
    try:
        return model_files.locate(workplace, name)
    except NoSuchEnvironment as error:
        return _of_repo(workplace, name, error)


def _of_repo(workplace: Workplace, name: str, no_env: NoSuchEnvironment) -> tuple[Wanted, ...]:
    """The files of a repository at the commit that its revision has now."""
    request = _request(name, no_env)
    client = HubClient(workplace.settings, waiting=workplace.reporter.note)
    try:
        with workplace.reporter.step(f"asking the hub for {request.repo.shown}"):
            return fetching.of_snapshot(client.snapshot(request))
    except NoSuchModel as error:
        if "/" not in name:
            error.remedy = f"there is no such environment either: {no_env.hint}"
        raise


def _request(name: str, no_env: NoSuchEnvironment) -> ModelRequest:
    """Read the name as a repository; a path, or a broken name, was meant as an environment."""
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if is_path and not model_spec.meant(name):
        raise no_env
    return model_spec.parse(name)


# --- filling --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Filling:
    """One prefill's work on the store."""

    workplace: Workplace
    store: Store
    jobs: int
    source: Transfer | None = None

    def plan(self, wanted: Iterable[Wanted]) -> FetchPlan:
        """Look what is there."""
        left = parts.at_hand(self.store.root / layout.PARTS) if self.store.is_ours else {}
        return fetch_plan.plan_fetch(
            wanted, lambda item: is_held(self.store, item), lambda item: left.get(item.key, 0)
        )

    def fill(self, wanted: tuple[Wanted, ...], leases: ExitStack) -> tuple[FetchPlan, Fetched]:
        """Fetch until all is there; the first plan, and what was fetched in all.

        What is wanted is kept from collection as long as `leases` last, from before anybody looks
        whether it is there. Files without a sha256 are leased once they have one, and looked for
        again.
        """
        self._lease(wanted, leases)
        first = plan = self.plan(wanted)
        if self.store.is_ours:
            parts.tidy(self.store.root / layout.PARTS, {item.key for item in plan.present})
        fetched = Fetched()
        for _ in range(_ROUNDS):
            if not plan.missing:
                return first, fetched
            fetched += self._fetch(plan)
            self._lease([item for item in wanted if not item.sha256], leases)
            plan = self.plan(wanted)
        raise self._not_there(plan, "something takes files away as they come: look for who does")

    def _lease(self, wanted: Sequence[Wanted], leases: ExitStack) -> None:
        hashes = [item.sha256 or self.store.named(item.blob) for item in wanted]
        if self.store.is_ours and any(hashes):
            known = filter(None, hashes)
            leases.enter_context(lease(self.store.root, known, purpose="prefill"))

    def _fetch(self, plan: FetchPlan) -> Fetched:
        why = reach.why_offline(self.workplace.settings)
        if why and self.source is None:
            raise self._not_there(plan, f"we are offline (`{why}`): allow the network for once")
        if not self.store.is_ours:
            owner = name_of(self.store.root.stat().st_uid)
            raise self._not_there(plan, f"run it as `{owner}`, to whom the store belongs")
        fetch_plan.check_room(plan, self._disk())
        stop, reporter = Stop(), self.workplace.reporter
        hub = HubTransfer(self.workplace.settings, stop.pause, reporter.note)
        transfer: Transfer = self.source or hub
        number = len(plan.missing)
        with reporter.step(f"fetching {counted(number, 'file')}"):
            return Fetcher(self.store, transfer, reporter, stop, self.jobs).fetch(plan.missing)

    def _disk(self) -> Disk:
        from envforge.adapters.space_probe import RealSpace

        space = RealSpace(self.workplace.settings, self.workplace.wheel_cache)
        return space.disk(self.store.root)

    def _not_there(self, plan: FetchPlan, remedy: str) -> NotCached:
        shown = listed([item.shown for item in plan.missing], _NAMED, quote="`")
        return NotCached(what=shown, searched=(str(self.store.root),), remedy=remedy)
