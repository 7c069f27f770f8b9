"""Which inode is which file: of the store, and of what a view shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from envforge.adapters.proof.listener import FileId, Seen
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry
from envforge.model.models import LinkMode, LockedModel, ModelFile, ModelsLock
from envforge.model.proof import Origin, ProvenFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """One model in one view, file by file."""

    model: LockedModel
    stored: Mapping[FileId, str]
    """Inodes of the store for all that is locked, and their sha256."""
    own: Mapping[FileId, str]
    """Inodes of copies that the view has, as its record says, and their sha256."""
    shown: Mapping[str, FileId]
    """What the view shows for each path of the model."""
    modes: Mapping[str, LinkMode]
    """How the view got each file, as its record says."""
    paths: tuple[Path, ...]
    """Of the model's files in the view."""

    @property
    def known(self) -> Mapping[FileId, str]:
        """All that a program may take from a hub cache, and its sha256."""
        return {**self.own, **self.stored}

    def files(self) -> tuple[ProvenFile, ...]:
        """The model's files, none of them opened yet."""
        return tuple(
            ProvenFile(
                path=item.path,
                size=item.size,
                sha256=item.sha256,
                origin=self._origin(item),
                inode=self.shown[item.path][1] if item.path in self.shown else None,
            )
            for item in self.model.files
        )

    def _origin(self, item: ModelFile) -> Origin:
        identity = self.shown.get(item.path)
        if identity is None:
            return "missing"
        if self.stored.get(identity) == item.sha256:
            return "hardlink"
        return self.modes[item.sha256] if self.own.get(identity) == item.sha256 else "elsewhere"

    def noted(self, files: tuple[ProvenFile, ...], seen: Seen) -> tuple[ProvenFile, ...]:
        """The same, with what one more run has opened and mapped."""
        opened = {self.known.get(identity) for identity in seen.opened.values()}
        mapped = {self.known.get(identity) for identity in seen.mapped}
        return tuple(
            replace(
                item,
                opened=item.opened or item.sha256 in opened,
                mapped=item.mapped or item.sha256 in mapped,
            )
            for item in files
        )


def look(store: Store, view: Path, lock: ModelsLock, model: LockedModel) -> Identities:
    """Ask the disk for every file that is locked."""
    record = registry.find(store.root, str(view))
    modes = record.modes if record else {}
    own: dict[FileId, str] = {}
    for other in lock.models:
        for item in other.files:
            identity = _identity(_place(view, other, item))
            if identity is not None and modes.get(item.sha256, "hardlink") != "hardlink":
                own[identity] = item.sha256
    places = {item.path: _place(view, model, item) for item in model.files}
    found = {path: _identity(place) for path, place in places.items()}
    return Identities(
        model=model,
        stored={
            (found.st_dev, found.st_ino): sha256
            for sha256 in lock.files
            for _, found in store.inodes(sha256)
        },
        own=own,
        shown={path: identity for path, identity in found.items() if identity is not None},
        modes=modes,
        paths=tuple(places.values()),
    )


def _place(view: Path, model: LockedModel, item: ModelFile) -> Path:
    return view / model.repo.folder / "snapshots" / model.commit / item.path


def _identity(path: Path) -> FileId | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
