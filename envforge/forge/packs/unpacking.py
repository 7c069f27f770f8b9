"""`unpack`: a pack is proven, then fills package cache, wheelhouse and store, then the folders."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from envforge.adapters import package_cache
from envforge.adapters.environments import CONDA_LOCK_YML, FILES, MODELS_LOCK_YML, MODELS_YML
from envforge.adapters.files import read_text, unusable
from envforge.adapters.pack.reading import OpenPack, open_pack
from envforge.adapters.store.arriving import parts
from envforge.adapters.store.arriving.fetching import is_held
from envforge.adapters.store.arriving.parts import Part
from envforge.adapters.users import name_of
from envforge.cache import fetch_plan, layout, lock_check
from envforge.errors import (
    BrokenPack,
    EnvforgeError,
    EnvironmentExists,
    InvalidValue,
    NotStoreOwner,
)
from envforge.forge.caching import model_files, prefilling
from envforge.forge.workplace import Workplace, this_platform
from envforge.formats.conda_lock import conda_lock_yml
from envforge.formats.models import models_yml
from envforge.formats.packs import pack_index
from envforge.formats.packs.pack_index import RECEIPT
from envforge.install.forecast import check_space, forecast
from envforge.model import fetching
from envforge.model.fetching import Wanted
from envforge.model.lock import Lock, LockedPackage
from envforge.model.models import ModelsLock
from envforge.model.pack import PackedEnvironment, Unpacked
from envforge.model.prefix import ArchiveFacts, InstallPlan
from envforge.model.wording import listed
from envforge.team import pack_plan

if TYPE_CHECKING:
    from envforge.forge.caching.front import ModelCache

_AT_ONCE: Final = 4
_NAMED: Final = 5
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Environment:
    """One environment, read from a proven pack."""

    listed: PackedEnvironment
    files: Mapping[str, str]
    packages: tuple[LockedPackage, ...]
    models: ModelsLock | None
    """None: their files are not in the pack, or not wanted."""


def unpack(
    cache: ModelCache,
    workplace: Workplace,
    source: Path | BinaryIO,
    *,
    receipt: Path | None,
    models: bool,
    force: bool,
    dry_run: bool,
) -> Unpacked:
    """Prove all of it, then bring it where it belongs.

    Args:
        cache: whose store gets the models.
        workplace: settings, environments and who is told how far it is.
        source: a file, or a stream, which is kept aside until it is proven.
        receipt: one that came another way, which the pack's own must equal.
        models: bring models into the store, too.
        force: replace folders that differ.
        dry_run: only prove it.
    """
    began = time.monotonic()
    with _on_disk(workplace, source) as path, open_pack(path) as pack:
        unpacking = _Unpacking(cache, workplace, pack)
        read = unpacking.prove(receipt)
        environments = unpacking.environments(models=models)
        if not dry_run:
            unpacking.check(environments, force=force)
        done = _Done() if dry_run else unpacking.fill(environments)
        return Unpacked(
            path=str(source) if isinstance(source, Path) else "",
            index=pack.index,
            read=read,
            packages=done.packages,
            wheels=done.wheels,
            models=done.models,
            folders=done.folders,
            views=done.views,
            seconds=time.monotonic() - began,
            dry_run=dry_run,
        )


@contextmanager
def _on_disk(workplace: Workplace, source: Path | BinaryIO) -> Iterator[Path]:
    """The file itself; what comes as a stream is kept aside, since it is read twice."""
    if isinstance(source, Path):
        yield source
        return
    with _aside(workplace.settings.cache) as folder:
        path = folder / "pack"
        with path.open("wb") as file:
            shutil.copyfileobj(source, file, _CHUNK)
        yield path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What came."""

    packages: int = 0
    wheels: int = 0
    models: int = 0
    folders: tuple[str, ...] = ()
    views: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Unpacking:
    """One pack on its way."""

    cache: ModelCache
    workplace: Workplace
    pack: OpenPack

    # --- nothing is touched -----------------------------------------------------------------

    def prove(self, receipt: Path | None) -> int:
        """Every byte; their number.

        Raises:
            BrokenPack: something is not as it should be, or the receipt is another's.
        """
        reporter = self.workplace.reporter
        with reporter.step("verifying the pack"):
            read = self.pack.verify(lambda done, total: reporter.progress(done, total, "bytes"))
        if receipt is not None and read_text(receipt).encode() != self.pack.read_small(RECEIPT):
            raise self._broken(f"`{receipt}` is the receipt of another pack")
        return read

    def environments(self, *, models: bool) -> tuple[_Environment, ...]:
        """All of them, seen to be complete.

        Raises:
            BrokenPack: files that no environment has, or contents that are not there.
        """
        names = [item.name for item in self.pack.index.environments]
        if not names or len(set(names)) != len(names):
            raise self._broken("it lists no environment, or one of them twice")
        return tuple(self._environment(item, models) for item in self.pack.index.environments)

    def _environment(self, listed: PackedEnvironment, models: bool) -> _Environment:
        known = self.pack.index.by_name
        members = {file: pack_index.environment_member(listed.name, file) for file in listed.files}
        if CONDA_LOCK_YML not in members or not {*members} <= {*FILES}:
            raise self._broken(f"`{listed.name}` has files that no environment has")
        if strange := [name for name in members.values() if name not in known]:
            raise self._broken(f"it has no `{strange[0]}`")
        try:
            texts = {file: self.pack.read_small(name).decode() for file, name in members.items()}
            lock = conda_lock_yml.read(texts[CONDA_LOCK_YML], members[CONDA_LOCK_YML])
            locked = _models(texts) if listed.models else None
        except (UnicodeDecodeError, EnvforgeError) as error:
            raise self._broken(f"`{listed.name}` cannot be used: {error}") from error
        packages = self._packages(listed.name, lock)
        self._check_complete(packages, locked)
        return _Environment(
            listed=listed, files=texts, packages=packages, models=locked if models else None
        )

    def _packages(self, name: str, lock: Lock) -> tuple[LockedPackage, ...]:
        packages = lock.for_platform(self.pack.index.platform)
        mistakes = pack_plan.unfit(packages)
        if mistakes or not packages:
            why = mistakes[0] if mistakes else f"nothing for {self.pack.index.platform}"
            raise self._broken(f"`{name}` cannot be used: {why}")
        return packages

    def _check_complete(self, packages: Sequence[LockedPackage], models: ModelsLock | None) -> None:
        lacking = pack_plan.missing(packages, models, self.pack.index.by_hash)
        if lacking:
            raise self._broken(f"it lacks {listed(lacking, _NAMED)}")

    def check(self, environments: Sequence[_Environment], *, force: bool) -> None:
        """See that all of it can be brought where it belongs.

        Raises:
            InvalidValue: it is for another platform.
            EnvironmentExists: a folder of that name holds something else.
            NotEnoughSpace, NoStore, NotStoreOwner, StoreFull
        """
        here = this_platform()
        if self.pack.index.platform != here:
            raise InvalidValue(
                what="platform",
                value=self.pack.index.platform,
                reason=f"is what the pack is for, and this machine is {here}",
                remedy=f"pack it with `--platform {here}`; `--dry-run` verifies it anywhere",
            )
        for item in environments:
            self._check_folder(item, force=force)
        self._check_space(environments)
        self._check_store(environments)

    def _check_folder(self, environment: _Environment, *, force: bool) -> None:
        folders = self.workplace.environments
        folder = folders.folder(environment.listed.name)
        folders.check_place(folder)
        there = {file: folders.read(folder, file) for file in FILES}
        different = [
            f"{file} is another one"
            for file, text in there.items()
            if text is not None and text != environment.files.get(file)
        ]
        if different and not force:
            raise EnvironmentExists(
                folder=str(folder),
                differences=tuple(different),
                remedy="`--envs FOLDER` unpacks beside it, `--force` replaces it",
            )

    def _check_space(self, environments: Sequence[_Environment]) -> None:
        space = self.workplace.install_tools.space
        packages = tuple(
            {item.sha256: item for env in environments for item in env.packages}.values()
        )
        pkgs, wheels = space.caches()
        facts = {
            item.url: ArchiveFacts(
                cached=item.manager == "conda" and package_cache.is_cached(pkgs, item),
                size=self.pack.index.by_hash[item.sha256].size,
            )
            for item in packages
        }
        prefix = self.workplace.settings.prefixes
        needed = forecast(
            InstallPlan(prefix=prefix, add=packages), facts, hardlinked={"conda", "pip"}
        )
        check_space(needed, space.disk(prefix), space.disk(pkgs), space.disk(wheels))

    def _check_store(self, environments: Sequence[_Environment]) -> None:
        wanted = _wanted(environments)
        if not wanted:
            return
        store = self.cache.store
        if not store.is_ours:
            if all(is_held(store, item) for item in wanted):
                return
            owner = name_of(store.root.stat().st_uid)
            raise NotStoreOwner(path=str(store.root), owner=owner, task="put files into it")
        left = parts.at_hand(store.root / layout.PARTS)
        plan = fetch_plan.plan_fetch(
            wanted, lambda item: is_held(store, item), lambda item: left.get(item.key, 0)
        )
        fetch_plan.check_room(plan, self.workplace.install_tools.space.disk(store.root))

    # --- it goes where it belongs -----------------------------------------------------------

    def fill(self, environments: Sequence[_Environment]) -> _Done:
        """Bring everything in; run again, it goes on where it ended."""
        packages = {item.sha256: item for env in environments for item in env.packages}
        conda = [item for item in packages.values() if item.manager == "conda"]
        wheels = [item for item in packages.values() if item.manager == "pip"]
        cached = self._each(conda, self._add_package, "unpacking packages")
        kept = self._each(wheels, self._add_wheel, "keeping wheels")
        folders = [self._write_folder(item) for item in environments]
        prefilled, views = self._add_models(environments)
        return _Done(
            packages=cached,
            wheels=kept,
            models=prefilled,
            folders=tuple(map(str, folders)),
            views=views,
        )

    def _each(
        self,
        packages: Sequence[LockedPackage],
        add: Callable[[LockedPackage], bool],
        title: str,
    ) -> int:
        if not packages:
            return 0
        reporter, added = self.workplace.reporter, 0
        with reporter.step(title), ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                for number, came in enumerate(pool.map(add, packages), 1):
                    added += came
                    reporter.progress(number, len(packages), "packages")
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return added

    def _add_package(self, package: LockedPackage) -> bool:
        cache = self.workplace.settings.package_cache
        if package_cache.is_cached(cache, package):
            return False
        with _aside(cache) as folder:
            archive = folder / package.filename
            self.pack.copy(self.pack.index.by_hash[package.sha256], archive)
            return package_cache.add(cache, package, archive)

    def _add_wheel(self, wheel: LockedPackage) -> bool:
        house = self.workplace.wheelhouse
        if house.find(wheel) is not None:
            return False
        with _aside(house.root) as folder:
            file = folder / wheel.filename
            self.pack.copy(self.pack.index.by_hash[wheel.sha256], file)
            house.add(wheel, file)
        return True

    def _write_folder(self, environment: _Environment) -> Path:
        folder = self.workplace.environments.folder(environment.listed.name)
        for file in {*FILES} - {*environment.files}:  # there only where it was to be replaced
            (folder / file).unlink(missing_ok=True)
        self.workplace.environments.write(folder, environment.files)
        return folder

    def _add_models(self, environments: Sequence[_Environment]) -> tuple[int, tuple[str, ...]]:
        with_models = [item for item in environments if item.models is not None]
        if not with_models:
            return 0, ()
        folders = [self.workplace.environments.folder(item.listed.name) for item in with_models]
        done = prefilling.prefill(
            self.cache,
            self.workplace,
            [str(folder.absolute()) for folder in folders],
            jobs=_AT_ONCE,
            view=self.cache.store.is_ours,
            dry_run=False,
            source=_FromPack(self.pack),
        )
        return done.fetched.files, done.views

    def _broken(self, reason: str) -> BrokenPack:
        return BrokenPack(path=str(self.pack.path), reason=reason)


@dataclass(frozen=True, slots=True)
class _FromPack:
    """`store.fetching.Transfer` out of a pack."""

    pack: OpenPack

    def get(self, wanted: Wanted, part: Part) -> None:
        """Append to the part what it lacks; its hash is judged by whoever asked."""
        for chunk in self.pack.chunks(self.pack.index.by_hash[wanted.sha256], part.size):
            part.write(chunk)


def _models(texts: Mapping[str, str]) -> ModelsLock:
    """The lock of the models, seen to be what models.yml asks for.

    Raises:
        InvalidFile, HostileRepo: it is not, or cannot be used.
    """
    lock = model_files.parse_lock(texts.get(MODELS_LOCK_YML, ""), MODELS_LOCK_YML)
    requests = models_yml.read(texts.get(MODELS_YML, ""), MODELS_YML).requests
    if reasons := lock_check.disagreements(requests, lock):
        raise InvalidValue(
            what="file", value=MODELS_LOCK_YML, reason=f"is not current: {reasons[0]}"
        )
    for item in fetching.of_lock(lock.models):
        fetch_plan.check_names(item)
    return lock


def _wanted(environments: Sequence[_Environment]) -> tuple[Wanted, ...]:
    return fetching.of_lock(
        model for item in environments if item.models for model in item.models.models
    )


@contextmanager
def _aside(root: Path) -> Iterator[Path]:
    """A folder on the filesystem that files go to, gone at the end."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pack-", dir=root) as name:
            yield Path(name)
    except OSError as error:
        raise unusable(root, error) from error
