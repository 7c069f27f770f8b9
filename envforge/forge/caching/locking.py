"""`cache lock`, `check` and `diff`: models.yml becomes models-lock.yml."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from envforge.adapters.environments import MODELS_LOCK_YML, MODELS_YML
from envforge.adapters.files import is_there, read_text
from envforge.adapters.hub.client import HubClient
from envforge.adapters.hub.known_names import KnownNames
from envforge.cache import lock_check
from envforge.errors import CacheError, FileNotUsable, InvalidFile, NoStore
from envforge.forge.caching import model_files
from envforge.forge.caching.model_files import ModelFolder
from envforge.forge.workplace import Workplace
from envforge.formats.models import model_spec, models_lock_yml, models_yml
from envforge.formats.models.models_yml import ModelsDocument
from envforge.model.models import (
    HubFile,
    HubSnapshot,
    LockedModel,
    ModelChange,
    ModelFile,
    ModelRequest,
    ModelsLock,
    Repo,
)
from envforge.model.results import LockResult, ModelsResult, ModelsState
from envforge.model.wording import counted

if TYPE_CHECKING:
    from envforge.adapters.store.store import Store

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")
_AT_ONCE: Final = 8
"""Requests to the hub side by side."""
_EMPTY: Final = ModelsLock(models=())


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedModels:
    """Models that were looked up, before anything is written."""

    document: ModelsDocument
    lock: ModelsLock
    before: ModelsLock | None
    resolved: frozenset[tuple[Repo, str]] = field(default_factory=frozenset)
    """Repository and revision of those that the hub was asked about."""

    @property
    def files(self) -> dict[str, str]:
        """File name to text."""
        return {
            MODELS_YML: self.document.text,
            MODELS_LOCK_YML: models_lock_yml.write(self.lock),
        }


def parse(models: Iterable[str]) -> tuple[ModelRequest, ...]:
    """What was typed behind `--model`.

    Raises:
        InvalidValue: one of them cannot be read.
    """
    return tuple(model_spec.parse(text) for text in models)


def lock(
    workplace: Workplace,
    env: str,
    *,
    models: Sequence[str] = (),
    keep: bool = False,
    dry_run: bool = False,
) -> ModelsResult:
    """Ask the hub which commits are meant now, and write both files.

    Args:
        workplace: where the environments lie.
        env: name or folder.
        models: added to models.yml.
        keep: what is locked already stays as it is; only what is new is asked for.
        dry_run: write nothing.

    Raises:
        InvalidFile: models.yml cannot be read, or there is none and nothing to put into it.
        NoSuchModel, HostileRepo, WrongBytes, Unreachable: nothing was written.
    """
    requests = parse(models)
    folder = model_files.locate(workplace, env)
    planned = plan(workplace, folder, requests, keep=keep)
    return write(workplace, folder, planned, dry_run=dry_run)


def plan_request(
    workplace: Workplace, folder: Path, requests: Sequence[ModelRequest]
) -> PlannedModels | None:
    """What `--model` comes to, for a folder that need not exist yet; None: there was none.

    Raises:
        NoSuchModel, HostileRepo, WrongBytes, Unreachable
    """
    return plan(workplace, folder, requests, keep=True) if requests else None


def with_models(
    workplace: Workplace, locked: LockResult, planned: PlannedModels | None
) -> LockResult:
    """Write the models beside a lock that was written; in a dry run neither is."""
    if planned is None:
        return locked
    written = write(workplace, locked.folder, planned, dry_run=locked.outcome == "planned")
    return replace(locked, models=written)


def plan(
    workplace: Workplace, folder: Path, requests: Sequence[ModelRequest], *, keep: bool
) -> PlannedModels:
    """Look up what the lock of a folder, which need not exist yet, would be."""
    found = model_files.read(workplace, folder, replacing_lock=True)
    document = _document(found, requests)
    for request in requests:
        document = document.with_request(request)
    before = {
        (model.repo, model.request.revision): model for model in (found.lock or _EMPTY).models
    }
    kept = [
        model
        for request in document.requests
        if keep and (model := before.get((request.repo, request.revision)))
        if not lock_check.disagreements([request], ModelsLock(models=(model,)))
    ]
    known = {model.request for model in kept}
    new = [request for request in document.requests if request not in known]
    locked = (*kept, *look_up(workplace, new))
    return PlannedModels(
        document=document,
        lock=ModelsLock(
            models=tuple(sorted(locked, key=lambda item: (item.repo, item.request.revision)))
        ),
        before=found.lock,
        resolved=frozenset((request.repo, request.revision) for request in new),
    )


def _document(found: ModelFolder, requests: Sequence[ModelRequest]) -> ModelsDocument:
    if found.document is not None:
        return found.document
    path = str(found.path / MODELS_YML)
    if not requests:
        raise InvalidFile(
            path=path,
            mistakes=("it does not exist",),
            remedy=f"`envforge cache lock {found.path.name} --model org/name` makes it",
        )
    return models_yml.read(models_yml.NEW, path)


def write(
    workplace: Workplace, folder: Path, planned: PlannedModels, *, dry_run: bool = False
) -> ModelsResult:
    """Write both files, where anything has changed."""
    written = not dry_run and workplace.environments.write(folder, planned.files)
    return ModelsResult(
        name=folder.name,
        folder=folder,
        lock=planned.lock,
        before=planned.before,
        changes=lock_check.compare(planned.before or _EMPTY, planned.lock),
        outcome="planned" if dry_run else ("written" if written else "unchanged"),
    )


# --- looking up -----------------------------------------------------------------------------


def look_up(workplace: Workplace, requests: Sequence[ModelRequest]) -> tuple[LockedModel, ...]:
    """What they are at the hub now, with the hashes of all their files.

    Raises:
        NoSuchModel, HostileRepo, WrongBytes, Unreachable
    """
    if not requests:
        return ()
    reporter = workplace.reporter
    client = HubClient(workplace.settings, waiting=reporter.note)
    names = Names(workplace)
    with reporter.step(f"asking {client.shown} for {counted(len(requests), 'model')}"):
        snapshots = _side_by_side(client.snapshot, requests, _told(workplace, "models"))
    unknown = {
        item.blob: (snapshot, item)
        for snapshot in snapshots
        for item in snapshot.files
        if not item.sha256 and names.get(item.blob) is None
    }
    if unknown:
        files = counted(len(unknown), "small file")
        with reporter.step(f"hashing {files}: the hub knows git's names of them only"):
            _hash(client, names, list(unknown.values()), _told(workplace, "files"))
    return tuple(
        _locked(request, snapshot, names)
        for request, snapshot in zip(requests, snapshots, strict=True)
    )


def _hash(
    client: HubClient,
    names: Names,
    files: Sequence[tuple[HubSnapshot, HubFile]],
    told: Callable[[int, int], None],
) -> None:
    """Fetch files to hash them; what was hashed before a failure is remembered all the same."""

    def fetch(pair: tuple[HubSnapshot, HubFile]) -> None:
        snapshot, file = pair
        data = client.small_file(snapshot.repo, snapshot.commit, file)
        names.learn(file.blob, hashlib.sha256(data).hexdigest())

    try:
        _side_by_side(fetch, files, told)
    finally:
        names.save()


def _locked(request: ModelRequest, snapshot: HubSnapshot, names: Names) -> LockedModel:
    files = (
        ModelFile(
            path=item.path,
            size=item.size,
            sha256=item.sha256 or names.get(item.blob) or "",
            blob=item.blob,
            xet=item.xet,
        )
        for item in snapshot.files
    )
    return LockedModel(request=request, commit=snapshot.commit, files=tuple(sorted(files)))


class Names:
    """sha256 by git's sha1: of the store, where there is one, and of envforge's own cache."""

    def __init__(self, workplace: Workplace) -> None:
        self._own = KnownNames(workplace.settings.cache / "model-names.txt")
        self._store = _store(workplace)
        self._new: dict[str, str] = {}
        self._warn = workplace.reporter.warn

    def get(self, sha1: str) -> str | None:
        """The sha256; None: only the bytes can tell."""
        found = self._new.get(sha1) or self._own.get(sha1)
        return found or (self._store.named(sha1) if self._store else None)

    def learn(self, sha1: str, sha256: str) -> None:
        """Note a pair that the bytes have proven."""
        self._new[sha1] = sha256

    def save(self) -> None:
        """Remember on disk what was learnt; a cache that cannot be written costs time only."""
        try:
            self._own.add(self._new.items())
        except FileNotUsable as error:
            self._warn(f"{error}; small files are fetched again next time")


def _store(workplace: Workplace) -> Store | None:
    """The store, if there is one that can be trusted: its names are proven by its owner."""
    from envforge.adapters.store.store import Store

    try:
        return Store.open(workplace.settings.store)
    except NoStore:
        return None
    except (CacheError, InvalidFile) as error:
        workplace.reporter.warn(f"{error}; it is not asked")
        return None


def _side_by_side(
    work: Callable[[_Item], _Answer], items: Sequence[_Item], told: Callable[[int, int], None]
) -> list[_Answer]:
    """Do it for all, some at once; the first failure ends it. Answers in the order of the items."""
    with ThreadPoolExecutor(min(_AT_ONCE, len(items) or 1)) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                told(done, len(items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _told(workplace: Workplace, unit: str) -> Callable[[int, int], None]:
    return lambda done, total: workplace.reporter.progress(done, total, unit)


# --- comparing ------------------------------------------------------------------------------


def check(workplace: Workplace, envs: Sequence[str] = ()) -> tuple[ModelsState, ...]:
    """Whether models.yml and its lock agree, for these environments or all that have models.

    Raises:
        InvalidFile, HostileRepo: a file that cannot be used.
        InvalidValue: an environment that was named has no models.
    """
    folders = [model_files.locate(workplace, env) for env in envs]
    return tuple(
        _state(workplace, folder) for folder in folders or model_files.with_models(workplace)
    )


def _state(workplace: Workplace, folder: Path) -> ModelsState:
    found = model_files.read(workplace, folder)
    if found.document is None and found.lock is None:
        raise model_files.no_models(folder.name)
    return ModelsState(
        name=folder.name,
        folder=folder,
        requests=found.document.requests if found.document else (),
        lock=found.lock,
        disagreements=found.disagreements,
    )


def diff(workplace: Workplace, env: str, other: str | None = None) -> tuple[ModelChange, ...]:
    """What moved from one lock to another; without `other`, from the lock to the hub as it is now.

    Args:
        workplace: where the environments lie.
        env: name or folder of an environment, a lock file, or `-`: standard input.
        other: the same.

    Raises:
        InvalidFile: one of them cannot be read.
        Unreachable: without `other`, the hub is asked.
    """
    if other is not None:
        return lock_check.compare(_any_lock(workplace, env), _any_lock(workplace, other))
    folder = model_files.locate(workplace, env)
    planned = plan(workplace, folder, (), keep=False)
    return lock_check.compare(planned.before or _EMPTY, planned.lock)


def _any_lock(workplace: Workplace, name: str) -> ModelsLock:
    if name == "-":
        return model_files.parse_lock(sys.stdin.read(), "standard input")
    path = Path(name)
    if path.suffix in {".yml", ".yaml"} and is_there(path) and path.name != MODELS_YML:
        return model_files.parse_lock(read_text(path), name)
    folder = model_files.locate(workplace, name)
    found = model_files.read_lock(workplace, folder)
    if found is None:
        raise InvalidFile(
            path=str(folder / MODELS_LOCK_YML),
            mistakes=("it does not exist",),
            remedy=f"`envforge cache lock {folder.name}` makes it",
        )
    return found
