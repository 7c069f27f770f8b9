"""Finds what `verify` is to look at: lock, prefix and interpreter of what was named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envforge.adapters.environments import CONDA_LOCK_YML
from envforge.adapters.files import read_text
from envforge.adapters.prefix import recognise
from envforge.adapters.prefix.recognise import Found
from envforge.adapters.prefix_reader import read_record
from envforge.errors import FileNotUsable, InvalidFile, StaleLock
from envforge.forge import folders
from envforge.forge.judging.naming import Looking, Named
from envforge.forge.prefixes import locating
from envforge.forge.workplace import Workplace
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.lock import Lock

if TYPE_CHECKING:
    from envforge.verify.facts import Kind

_ASKING: float = 30.0
"""Seconds for an interpreter to say where it lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is to be looked at."""

    name: str
    """Heads the report."""
    kind: Kind
    folder: Path | None = None
    """The environment's folder."""
    lock: Lock | None = None
    no_lock: str | None = None
    """Why there is no lock where one is to be expected."""
    installed: Found | None = None
    """None: nothing installed is looked at."""


def find(workplace: Workplace, named: Named, looking: Looking) -> Place:
    """The one thing that was named.

    Raises:
        NoSuchEnvironment, InvalidValue: there is no such thing.
        InvalidFile, FileNotUsable: its lock cannot be read.
        StaleLock: an environment without a lock: there is no claim to check.
    """
    if named.env is not None:
        return of_folder(workplace, workplace.environments.locate(named.env), named.prefix)
    if named.host:
        return Place(name="this machine", kind="host")
    lock = _read_lock(named.lock) if named.lock else None
    if named.python is not None:
        found = _interpreter(workplace, named.python, looking)
        place = Place(name=named.python, kind="interpreter", installed=found, lock=lock)
    elif named.prefix is not None:
        found = recognise.prefix(named.prefix)
        place = Place(name=str(named.prefix), kind="prefix", installed=found, lock=lock)
    else:
        return Place(name=str(named.lock), kind="lock", lock=lock)
    return place if lock is not None else _with_own_lock(workplace, place, found)


def of_folder(workplace: Workplace, folder: Path, prefix: Path | None) -> Place:
    """An environment by its folder, wherever it is installed.

    Raises:
        StaleLock: it has no lock.
        InvalidFile: it has one that cannot be read.
    """
    lock = folders.read_lock(workplace, folder)
    if lock is None:
        raise StaleLock(
            path=str(folder / CONDA_LOCK_YML),
            reasons=("it does not exist, so there is no claim to check",),
            remedy=f"`envforge lock {folder.name}`",
        )
    home = locating.prefix_of(workplace, folder, prefix)
    program = recognise.interpreter_of(home)
    found = Found(interpreter=program, prefix=home, is_conda=True)
    return Place(name=folder.name, kind="environment", folder=folder, lock=lock, installed=found)


def _with_own_lock(workplace: Workplace, place: Place, found: Found) -> Place:
    """An install of ours remembers the folder that it was made from: its lock is the claim."""
    record = read_record(found.prefix)
    if record is None or not record.environment:
        return place
    folder = Path(record.environment)
    if not folder.is_absolute():
        return replace(place, no_lock=f"the folder it was made from, `{folder}`, is not known")
    try:
        lock = folders.read_lock(workplace, folder)
    except FileNotUsable as error:
        return replace(place, no_lock=str(error))
    if lock is None:
        return replace(place, no_lock=f"the folder it was made from, `{folder}`, has no lock now")
    return replace(place, name=folder.name, kind="environment", folder=folder, lock=lock)


def _read_lock(path: Path) -> Lock:
    """A lock by its file, whoever wrote it.

    Raises:
        InvalidFile: it does not exist, or is no conda-lock.yml.
        FileNotUsable: it may not be read.
    """
    if path.is_dir():
        inside = path / CONDA_LOCK_YML
        raise InvalidFile(
            path=str(path),
            mistakes=("it is a folder, and a lock is a file",),
            remedy=f"`--lock {inside}`" if inside.is_file() else None,
        )
    try:
        return conda_lock_yml.read(read_text(path), str(path))
    except FileNotUsable as error:
        if path.exists():
            raise
        raise InvalidFile(path=str(path), mistakes=("it does not exist",)) from error


def _interpreter(workplace: Workplace, command: str, looking: Looking) -> Found:
    program, found = recognise.interpreter(command, workplace.settings.environment)
    if found is not None:
        return found
    if looking.level == "static":
        raise recognise.refused(
            command,
            "does not tell by its files where its packages lie, and level static starts nothing",
            "`--level import`, or name the interpreter that it starts",
        )
    from envforge.adapters.prefix.python_probe import PythonProbe

    answer = PythonProbe(workplace.processes).run(
        program,
        level="static",
        environment=workplace.settings.environment,
        timeout=min(looking.timeout, _ASKING),
    )
    if answer.prefix is None:
        raise recognise.refused(command, f"does not work as a Python: {answer.failure}")
    return recognise.told(program, Path(answer.prefix))
