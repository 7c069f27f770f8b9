"""A store of model files on a real disk, with views and locks, made without a hub.

world = StoreWorld(tmp_path)
sha = world.file(b"weights")
world.view("a", "org/m", {"model.bin": sha})   # a hub tree of hardlinks, registered
world.lock("env-a", "org/m", {"model.bin": sha})
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fakes.installing import RecordingReporter, make_settings

from envforge.adapters.environments import MODELS_LOCK_YML
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry
from envforge.forge.caching.front import ModelCache
from envforge.forge.workplace import Workplace
from envforge.formats.models import models_lock_yml
from envforge.model.models import LinkMode, LockedModel, ModelFile, ModelRequest, ModelsLock, Repo
from envforge.model.settings import Settings
from envforge.model.views import RegisteredView, ViewedModel

COMMIT = "c" * 40
OTHER_COMMIT = "d" * 40


class StoreWorld:
    """One store under a folder; `kind:org/name` names a dataset or a space."""

    def __init__(self, root: Path, store: Path | None = None) -> None:
        self.root = root
        self.reporter = RecordingReporter()
        self.store = Store.create(store or root / "store")

    @cached_property
    def settings(self) -> Settings:
        made = make_settings(self.root)
        return replace(made, store=self.store.root, views=self.store.root / "views")

    @cached_property
    def workplace(self) -> Workplace:
        return Workplace(settings=self.settings, reporter=self.reporter)

    @property
    def cache(self) -> ModelCache:
        return ModelCache(self.workplace)

    def file(self, data: bytes) -> str:
        """A file of the store; its sha256."""
        sha256 = hashlib.sha256(data).hexdigest()
        part = self.store.root / "parts" / f"{sha256}.made-here"
        part.write_bytes(data)
        self.store.insert(part, sha256)
        return sha256

    def files(self, count: int, size: int = 10) -> list[str]:
        """Files of other bytes each."""
        return [self.file(f"{number:08}".encode() + b"x" * (size - 8)) for number in range(count)]

    def names(self) -> set[str]:
        """What the store holds."""
        return {entry.name for entry in self.store.blobs()}

    def view(
        self,
        name: str,
        repo: str,
        files: Mapping[str, str],
        *,
        environment: str | None = None,
        commit: str = COMMIT,
        refs: tuple[str, ...] = ("main",),
        modes: Mapping[str, LinkMode] | None = None,
        owner: int | None = None,
    ) -> Path:
        """A registered tree that shows files (path to sha256), besides those it showed before."""
        path = self.store.root / "views" / "env" / name
        tree = path / folder_of(repo).folder
        snapshot = tree / "snapshots" / commit
        (tree / "blobs").mkdir(parents=True, exist_ok=True)
        for file, sha256 in files.items():
            blob = tree / "blobs" / sha256
            if not blob.exists():
                if (modes or {}).get(sha256, "hardlink") == "hardlink":
                    self.store.link(sha256, blob)
                else:
                    blob.write_bytes(self.store.path(sha256).read_bytes())
            place = snapshot / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(os.path.relpath(blob, place.parent))
        (tree / "refs").mkdir(exist_ok=True)
        for ref in refs:
            (tree / "refs" / ref).write_text(commit)
        before = registry.find(self.store.root, str(path))
        viewed = ViewedModel(repo=folder_of(repo), commit=commit, revision="main")
        registry.register(
            self.store.root,
            RegisteredView(
                path=str(path),
                owner=os.getuid() if owner is None else owner,
                environment=name if environment is None else environment,
                models=(*(before.models if before else ()), viewed),
                modes={
                    **(before.modes if before else {}),
                    **dict.fromkeys(files.values(), "hardlink"),
                    **(modes or {}),
                },
            ),
        )
        return path

    def lock(
        self, environment: str, repo: str, files: Mapping[str, str], *, envs: Path | None = None
    ) -> Path:
        """A models-lock.yml in the folder of an environment."""
        folder = (envs or self.settings.envs_folder) / environment
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "environment.yml").write_text(f"name: {environment}\n")
        path = folder / MODELS_LOCK_YML
        path.write_text(models_lock_yml.write(locked(repo, files, self.store)))
        return path


def folder_of(repo: str) -> Repo:
    kind, _, name = repo.rpartition(":")
    return Repo(kind=kind or "model", id=name)  # type: ignore[arg-type]


def locked(repo: str, files: Mapping[str, str], store: Store, commit: str = COMMIT) -> ModelsLock:
    """A lock of one repository."""
    listed = tuple(
        ModelFile(path=path, size=store.size(sha256) or 1, sha256=sha256, blob=sha256)
        for path, sha256 in sorted(files.items())
    )
    request = ModelRequest(repo=folder_of(repo))
    return ModelsLock(models=(LockedModel(request=request, commit=commit, files=listed),))


def disk(path: Path) -> int:
    """Bytes that a file takes."""
    return path.lstat().st_blocks * 512


def tree_of(folder: Path) -> dict[str, Any]:
    """Everything below a folder: contents of files, targets of links."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
