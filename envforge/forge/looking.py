"""`list` and `show`: what is there, without changing anything."""

from __future__ import annotations

from pathlib import Path

from envforge.adapters.environments import ENVIRONMENT_YML
from envforge.adapters.prefix_reader import read_record, read_state
from envforge.errors import EnvforgeError, InvalidFile
from envforge.forge import folders
from envforge.forge.prefixes import locating
from envforge.forge.workplace import Workplace
from envforge.model.lock import Lock
from envforge.model.prefix import PrefixState
from envforge.model.results import EnvironmentInfo


def info(workplace: Workplace, name: str) -> EnvironmentInfo:
    """One row of the list: never raises for what is wrong with one environment."""
    path = workplace.environments.folder(name)
    try:
        return read_info(workplace, path)
    except EnvforgeError as error:
        return EnvironmentInfo(name=name, folder=path, lock=None, problem=_in_short(error))


def _in_short(error: EnvforgeError) -> str:
    """One line: which of the files, and its first mistake."""
    if not isinstance(error, InvalidFile):
        return str(error).splitlines()[0]
    more = f" (and {len(error.mistakes) - 1} more)" if len(error.mistakes) > 1 else ""
    return f"{Path(error.path).name}: {error.mistakes[0]}{more}"


def read_info(workplace: Workplace, path: Path) -> EnvironmentInfo:
    """One environment.

    Raises:
        InvalidFile, FileNotUsable: its files cannot be read.
    """
    lock, stale = _lock(workplace, path)
    prefix = locating.find_prefix(workplace, path)
    return EnvironmentInfo(
        name=path.name,
        folder=path,
        lock=lock,
        stale=stale,
        prefix=prefix,
        state=read_state(prefix) if prefix else PrefixState.ABSENT,
        up_to_date=prefix is not None and _is_up_to_date(lock, prefix),
    )


def _lock(workplace: Workplace, path: Path) -> tuple[Lock | None, tuple[str, ...]]:
    """The lock and why it is stale; one that lies there alone has nothing to be stale against."""
    if workplace.environments.read(path, ENVIRONMENT_YML) is None:
        return folders.read_lock(workplace, path), ()
    folder = folders.read_folder(workplace, path)
    return folder.lock, folder.stale if folder.lock else ()


def _is_up_to_date(lock: Lock | None, prefix: Path) -> bool:
    record = read_record(prefix)
    if lock is None or record is None:
        return False
    return record.complete and record.digest == folders.digest(lock)
