"""The files of one environment, read and checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from envforge.adapters.environments import CONDA_LOCK_YML, ENVIRONMENT_YML, VIRTUAL_PACKAGES_YML
from envforge.errors import FileNotUsable, InvalidFile
from envforge.forge.workplace import Workplace, this_platform
from envforge.formats.conda import environment_yml, virtual_packages_yml
from envforge.formats.conda.environment_yml import EnvironmentDocument
from envforge.formats.conda_lock import conda_lock_yml
from envforge.install.plan import lock_digest
from envforge.model.lock import Lock
from envforge.model.machine import Platform
from envforge.model.spec import VirtualPackage
from envforge.solve import claim, current, record

VARIABLES = "envforge.variables"
"""Key in `custom_metadata`: what activation sets, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The files of one environment, read."""

    path: Path
    document: EnvironmentDocument
    virtual: dict[Platform, tuple[VirtualPackage, ...]]
    lock: Lock | None

    @property
    def locked(self) -> Lock:
        """The lock of a folder that was seen to have one."""
        assert self.lock is not None  # noqa: S101 - whoever calls has asked
        return self.lock

    @property
    def stale(self) -> tuple[str, ...]:
        """Why the lock is not current; empty: it is."""
        if self.lock is None:
            return (f"there is no {CONDA_LOCK_YML}",)
        stale = current.is_current(self.lock, self.document, self.virtual)
        if self.lock.target is None:
            return stale
        name = self.document.spec.name
        return (*stale, *claim.contradictions(self.path.name, name, self.lock.target))


def read_folder(workplace: Workplace, path: Path, *, replacing_lock: bool = False) -> Folder:
    """Read and check all that is there.

    Args:
        workplace: where the folder lies.
        path: the folder.
        replacing_lock: a lock that cannot be read is about to be written anew: go on without it.

    Raises:
        InvalidFile: one of the files cannot be read as what it should be.
    """
    source = workplace.environments.read(path, ENVIRONMENT_YML)
    if source is None:
        raise InvalidFile(
            path=str(path / ENVIRONMENT_YML),
            mistakes=("it does not exist",),
            remedy="`envforge install` needs conda-lock.yml only; to lock, restore the file",
        )
    virtual = workplace.environments.read(path, VIRTUAL_PACKAGES_YML)
    return Folder(
        path=path,
        document=environment_yml.read(source, str(path / ENVIRONMENT_YML)),
        virtual=virtual_packages_yml.read(virtual, str(path / VIRTUAL_PACKAGES_YML))
        if virtual is not None
        else {},
        lock=_old_lock(workplace, path) if replacing_lock else read_lock(workplace, path),
    )


def _old_lock(workplace: Workplace, path: Path) -> Lock | None:
    try:
        return read_lock(workplace, path)
    except (InvalidFile, FileNotUsable) as error:
        workplace.reporter.warn(f"{error}; it is written anew")
        return None


def read_lock(workplace: Workplace, path: Path) -> Lock | None:
    """The lock of a folder, or None where there is none.

    Raises:
        InvalidFile: it cannot be read, or what we wrote into its metadata was changed.
    """
    text = workplace.environments.read(path, CONDA_LOCK_YML)
    if text is None:
        return None
    lock = conda_lock_yml.read(text, str(path / CONDA_LOCK_YML))
    mistakes = tuple(_changed_metadata(lock))
    if mistakes:
        raise InvalidFile(
            path=str(path / CONDA_LOCK_YML),
            mistakes=mistakes,
            remedy=f"take the file from version control, or `envforge lock {path.name}`",
        )
    return lock


def digest(lock: Lock) -> str:
    """Of all that an install on this machine's platform takes from a lock."""
    return lock_digest(lock.for_platform(this_platform()), variables_of(lock))


def variables_of(lock: Lock) -> dict[str, str]:
    """What activation sets, as the lock holds it."""
    variables: dict[str, str] = json.loads(lock.metadata.get(VARIABLES, "{}"))
    return variables


def _changed_metadata(lock: Lock) -> Iterator[str]:
    for key in (VARIABLES, record.KEY):
        try:
            value = json.loads(lock.metadata.get(key, "{}"))
        except ValueError as error:
            yield f"metadata.custom_metadata: `{key}` is no JSON ({error})"
            continue
        texts = value.values() if isinstance(value, dict) and key == VARIABLES else ()
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in texts):
            yield f"metadata.custom_metadata: `{key}` is not what envforge wrote there"
