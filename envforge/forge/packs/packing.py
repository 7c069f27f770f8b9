"""`pack`: environments with everything they are made of become one file."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from envforge.adapters.environments import CONDA_LOCK_YML, FILES, MODELS_LOCK_YML
from envforge.adapters.files import unusable, write_text
from envforge.adapters.locking import hold
from envforge.adapters.pack.download import Downloads
from envforge.adapters.pack.supply import Supply
from envforge.adapters.pack.writing import PackWriter
from envforge.adapters.store.leases import lease
from envforge.adapters.store.store import Store
from envforge.cache import layout
from envforge.errors import FileNotUsable, InvalidFile, InvalidValue, NotCached
from envforge.forge.caching import model_files
from envforge.forge.packs.bootstrapping import Bootstrap
from envforge.forge.prefixes import installing
from envforge.forge.workplace import Workplace
from envforge.formats.packs import pack_index
from envforge.formats.packs.pack_index import INDEX, RECEIPT
from envforge.model.machine import Platform
from envforge.model.models import ModelsLock
from envforge.model.pack import Packed, PackIndex, PackMember
from envforge.team import pack_plan
from envforge.team.pack_plan import EnvironmentToPack, PlannedMember
from envforge.version import __version__

if TYPE_CHECKING:
    from envforge.forge.caching.front import ModelCache

_PARTIAL: Final = ".part"
_ARCHIVE: Final = "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRequest:
    """What to pack, and how."""

    platform: Platform
    models: bool = False
    """Bring the files of their models along."""
    bootstrap: bool = True
    """Bring Python and envforge along."""


def pack(
    cache: ModelCache,
    workplace: Workplace,
    names: Sequence[str],
    output: Path | BinaryIO,
    request: PackRequest,
    *,
    receipt: Path | None = None,
    dry_run: bool = False,
) -> Packed:
    """Write the pack.

    Args:
        cache: whose store has the models.
        workplace: settings, environments and who is told how far it is.
        names: of environments, or their folders.
        output: a file, replaced when the pack is whole; or a stream.
        request: what goes in.
        receipt: also write the receipt here.
        dry_run: only say what would be packed.
    """
    began = time.monotonic()
    environments = tuple(_environment(workplace, name, request) for name in names)
    _refuse_equal_names(environments)
    notes = _notes(environments)
    planned = pack_plan.plan(environments)
    if dry_run:
        index = _index(request, environments, tuple(map(_as_planned, planned)))
        return Packed(path=_shown(output), index=index, dry_run=True, notes=notes)
    with ExitStack() as stack:
        store = _models(cache, names, environments, stack)
        folder = stack.enter_context(_working_folder(workplace, output))
        packing = _Packing(workplace, store, folder, request, environments, planned)
        stream, goes_on = stack.enter_context(_target(output, folder))
        writer = PackWriter(stream, goes_on=goes_on)
        index, receipt_text = packing.write(writer)
    if receipt is not None:
        write_text(receipt, receipt_text.decode())
    return Packed(
        path=_shown(output),
        index=index,
        sha256=writer.sha256,
        size=writer.size,
        resumed=writer.resumed,
        seconds=time.monotonic() - began,
        notes=notes,
    )


# --- what is packed -------------------------------------------------------------------------


def _environment(workplace: Workplace, name: str, request: PackRequest) -> EnvironmentToPack:
    """Read an environment and its locks, seen to be current.

    Raises:
        StaleLock: a lock is not what its source asks for.
        InvalidValue, InvalidFile: it is not locked for the platform, or not wholly.
    """
    folder = workplace.environments.locate(name)
    lock = installing.current_lock(workplace, folder, locked=True)
    if request.platform not in lock.platforms:
        raise InvalidValue(
            what="platform",
            value=request.platform,
            reason=f"is none that `{folder.name}` is locked for: {', '.join(lock.platforms)}",
            remedy="choose one of those with `--platform`, or lock for it",
        )
    packages = lock.for_platform(request.platform)
    if mistakes := pack_plan.unfit(packages):
        raise InvalidFile(
            path=str(folder / CONDA_LOCK_YML),
            mistakes=mistakes,
            remedy=f"`envforge lock {folder.name}` writes hashes, and wheels only",
        )
    texts = {file: workplace.environments.read(folder, file) for file in FILES}
    return EnvironmentToPack(
        name=folder.name,
        files={file: text for file, text in texts.items() if text is not None},
        packages=packages,
        models=_locked_models(workplace, folder) if request.models else None,
        channels=lock.channels,
    )


def _locked_models(workplace: Workplace, folder: Path) -> ModelsLock | None:
    """The models of an environment; None: it has none."""
    found = model_files.read(workplace, folder)
    if found.lock is None and found.document is None:
        workplace.reporter.note(f"`{folder.name}` has no models")
        return None
    return model_files.current_lock(workplace, str(folder.absolute()))


def _refuse_equal_names(environments: Sequence[EnvironmentToPack]) -> None:
    names = [item.name for item in environments]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidValue(what="environment", value=twice, reason="was named twice")


def _notes(environments: Sequence[EnvironmentToPack]) -> tuple[str, ...]:
    """What whoever opens the pack should know."""
    local = [
        f"`{item.name}` of `{environment.name}` was made on this machine"
        " and may run on no other system"
        for environment in environments
        for item in environment.packages
        if item.url.startswith("file:") and item.name == "python" and item.manager == "conda"
    ]
    lacking = [
        f"the models of `{item.name}` stay out; `--models` packs them"
        for item in environments
        if item.models is None and MODELS_LOCK_YML in item.files
    ]
    return (*local, *lacking)


def _models(
    cache: ModelCache,
    names: Sequence[str],
    environments: Sequence[EnvironmentToPack],
    stack: ExitStack,
) -> Store | None:
    """The store, which has all files, and keeps them until the pack is written.

    Raises:
        NoStore, NotCached, Unreachable: they cannot be had.
    """
    wanted = {
        sha256: file.size
        for item in environments
        for sha256, file in (item.models.files if item.models else {}).items()
    }
    if not wanted:
        return None
    store = cache.store
    if store.is_ours:
        stack.enter_context(lease(store.root, wanted, purpose="pack"))
    if not all(store.holds(sha256, size) for sha256, size in wanted.items()):
        named = zip(names, environments, strict=True)
        cache.prefill([name for name, item in named if item.models], view=False)
    absent = [sha256 for sha256, size in wanted.items() if not store.holds(sha256, size)]
    if absent:
        raise NotCached(
            what=f"{len(absent)} of the models' files",
            searched=(str(store.root),),
            remedy="`envforge cache verify --repair` looks what is wrong with the store",
        )
    return store


# --- writing it -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Packing:
    """One pack on its way."""

    workplace: Workplace
    store: Store | None
    folder: Path
    request: PackRequest
    environments: tuple[EnvironmentToPack, ...]
    planned: tuple[PlannedMember, ...]

    def write(self, writer: PackWriter) -> tuple[PackIndex, bytes]:
        """All members, the index, the receipt; the latter two."""
        supply = self._supply()
        supply.check(item.package for item in self.planned if item.package is not None)
        self._write_members((*self._tool(supply), *self.planned), writer, supply)
        index = _index(self.request, self.environments, writer.members)
        index_data = pack_index.write_index(index)
        known = _small(INDEX, index_data)
        receipt = pack_index.write_receipt(index, known.sha256, f"envforge {__version__}")
        for member in (known, _small(RECEIPT, receipt)):
            if not writer.keep(member.name, member.kind, member.sha256):
                _written(supply.write([member], writer))
        writer.finish()
        return index, receipt

    def _supply(self) -> Supply:
        channels = [name for item in self.environments for name in item.channels]
        settings, pip = self.workplace.settings_for(channels), self.workplace.uv.settings
        root = self.store.root if self.store else Path()
        return Supply(
            settings=settings,
            downloads=Downloads(settings, pip),
            wheelhouse=self.workplace.wheelhouse,
            folder=self.folder,
            blob=lambda sha256: layout.blob(root, sha256),
        )

    def _tool(self, supply: Supply) -> tuple[PlannedMember, ...]:
        if not self.request.bootstrap:
            return ()
        bootstrap = Bootstrap(self.workplace, supply, self.folder, self.request.platform)
        return bootstrap.members(self.environments)

    def _write_members(
        self, members: Sequence[PlannedMember], writer: PackWriter, supply: Supply
    ) -> None:
        done = 0
        while done < len(members) and writer.keep(
            members[done].name, members[done].kind, members[done].sha256
        ):
            done += 1
        reporter = self.workplace.reporter
        if done:
            reporter.note(f"{done} of {len(members)} files are there from an earlier run")
        with reporter.step(f"packing {len(members) - done} files"):
            for number, name in enumerate(supply.write(members[done:], writer), done + 1):
                reporter.progress(number, len(members), "files", name)


def _written(names: Iterator[str]) -> None:
    for _ in names:
        pass


def _small(name: str, data: bytes) -> PlannedMember:
    return PlannedMember(
        name=name, kind="environment", sha256=hashlib.sha256(data).hexdigest(), data=data
    )


def _index(
    request: PackRequest,
    environments: Sequence[EnvironmentToPack],
    members: tuple[PackMember, ...],
) -> PackIndex:
    return PackIndex(
        platform=request.platform,
        environments=tuple(sorted(item.listed for item in environments)),
        members=members,
    )


def _as_planned(member: PlannedMember) -> PackMember:
    return PackMember(
        name=member.name, kind=member.kind, sha256=member.sha256, size=member.size or 0
    )


# --- where to -------------------------------------------------------------------------------


def _shown(output: Path | BinaryIO) -> str:
    return str(output) if isinstance(output, Path) else ""


@contextmanager
def _working_folder(workplace: Workplace, output: Path | BinaryIO) -> Iterator[Path]:
    """`FILE.part/`, held against others, kept when we end early; for a stream, one that goes."""
    if not isinstance(output, Path):
        workplace.settings.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="pack-", dir=workplace.settings.cache) as name:
            yield Path(name)
        return
    if output.is_dir():
        raise FileNotUsable(path=str(output), reason="it is a folder", remedy="name a file")
    folder = output.with_name(output.name + _PARTIAL)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = folder.lstat().st_uid
    except OSError as error:
        raise unusable(folder, error) from error
    if owner != os.geteuid() or folder.is_symlink():  # in `/tmp` anybody could have put it there
        raise FileNotUsable(
            path=str(folder), reason="another user put it there", remedy="name a file elsewhere"
        )
    with hold(folder / "lock", waiting=workplace.reporter.note):
        folder.mkdir(mode=0o700, exist_ok=True)  # whoever held it may have ended, and cleared up
        yield folder
        if (folder / _ARCHIVE).exists():
            try:
                (folder / _ARCHIVE).replace(output)
            except OSError as error:
                raise unusable(output, error) from error
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _target(output: Path | BinaryIO, folder: Path) -> Iterator[tuple[BinaryIO, bool]]:
    """The stream to write to, and whether it may hold the beginning."""
    if not isinstance(output, Path):
        yield output, False
        return
    try:
        stream = (folder / _ARCHIVE).open("r+b" if (folder / _ARCHIVE).exists() else "x+b")
        with stream:
            yield stream, True
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise unusable(folder / _ARCHIVE, error) from error
