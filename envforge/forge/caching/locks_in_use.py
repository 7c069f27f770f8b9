"""Which models-lock.yml files there are: here, and wherever the store was prefilled from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from envforge.adapters.environments import MODELS_LOCK_YML
from envforge.adapters.store.removing import known_locks
from envforge.adapters.store.removing.known_locks import KnownLock
from envforge.adapters.store.store import Store
from envforge.adapters.users import name_of
from envforge.cache.survey import LockedModels
from envforge.errors import EnvforgeError
from envforge.forge.caching import model_files
from envforge.forge.workplace import Workplace
from envforge.model.models import ModelsLock

Signature = tuple[tuple[str, int, int, int], ...]


class LocksInUse:
    """All locks that keep files in a store; read again when one of them has changed."""

    def __init__(self, workplace: Workplace, store: Store) -> None:
        self._workplace = workplace
        self._store = store
        self._seen: Signature | None = None
        self._hashes: frozenset[str] = frozenset()
        self.unseen: tuple[KnownLock, ...] = ()
        """Whose folder is out of sight, with all folders beside it: a disk that is not mounted."""
        self.deleted: tuple[KnownLock, ...] = ()
        """That went with their environments."""

    def hashes(self) -> frozenset[str]:
        """What they name, as they are now.

        Raises:
            InvalidFile, HostileRepo, FileNotUsable: one cannot be read, so nobody can tell.
        """
        signature = self._signature()
        if signature != self._seen:
            found = {sha for _, lock in self._read_all() for sha in lock.files}
            self._hashes = frozenset(found).union(*(item.hashes for item in self.unseen))
            self._seen = signature
        return self._hashes

    def readable(self) -> tuple[tuple[LockedModels, ...], tuple[str, ...]]:
        """Those that can be read, and a sentence for each that cannot."""
        found: list[LockedModels] = []
        problems: list[str] = []
        for folder in self._folders():
            try:
                lock = model_files.read_lock(self._workplace, folder)
                owner = name_of(folder.stat().st_uid)
            except (EnvforgeError, OSError) as error:
                problems.append(str(error))
                continue
            if lock is not None:
                found.append(LockedModels(environment=folder.name, user=owner, lock=lock))
        problems += [f"`{item.path}` is out of sight: is its disk mounted?" for item in self.unseen]
        return tuple(found), tuple(problems)

    def _folders(self) -> tuple[Path, ...]:
        """Folders that hold a lock, each once."""
        environments = self._workplace.environments
        here = map(environments.folder, environments.names())
        noted = tuple(known_locks.known(self._store.root))
        self.unseen = tuple(n for n in noted if not n.is_there and not n.is_deleted)
        self.deleted = tuple(n for n in noted if n.is_deleted)
        folders = {folder.resolve(): folder for folder in here}
        for note in noted:
            if note.is_there:
                folders.setdefault(note.path.parent.resolve(), note.path.parent)
        return tuple(folders.values())

    def _read_all(self) -> Iterator[tuple[Path, ModelsLock]]:
        for folder in self._folders():
            lock = model_files.read_lock(self._workplace, folder)
            if lock is not None:
                yield folder, lock

    def _signature(self) -> Signature:
        """Changes whenever a lock does: they are only ever replaced by renaming."""
        found = []
        for folder in self._folders():
            path = folder / MODELS_LOCK_YML
            try:
                looked = os.stat(path)  # noqa: PTH116 - thousands of them
            except FileNotFoundError:
                continue
            found.append((str(path), looked.st_ino, looked.st_mtime_ns, looked.st_size))
        return tuple(sorted(found))
