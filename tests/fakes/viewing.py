"""A store with files, locks of models that name them, and what lies in a view."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from fakes.digests import git_sha1, sha256

from envforge.adapters.store.store import Store
from envforge.adapters.store.trees.folders import Owner
from envforge.adapters.store.trees.views import Place, build
from envforge.cache.view_plan import plan_view
from envforge.forge.workplace import SilentReporter, this_platform
from envforge.formats.conda_lock import conda_lock_yml
from envforge.formats.models import models_lock_yml, models_yml
from envforge.model.lock import Lock, LockedPackage
from envforge.model.models import LockedModel, ModelFile, ModelRequest, ModelsLock, Repo
from envforge.model.views import ViewResult

C1, C2 = "1" * 40, "2" * 40
CONFIG = b'{"model_type": "bert"}'
WEIGHTS = bytes(range(256)) * 40
BERT: Mapping[str, bytes] = {
    "config.json": CONFIG,
    "model.safetensors": WEIGHTS,
    "onnx/deep/model.onnx": WEIGHTS,
    "vocab.txt": b"[PAD]\n",
}
US = Owner(uid=os.geteuid(), gid=os.getegid())


def blob_name(path: str, data: bytes) -> str:
    """As the hub names it: weights are LFS files."""
    is_large = path.endswith((".safetensors", ".onnx", ".bin", ".h5"))
    return sha256(data) if is_large else git_sha1(data)


def model(
    files: Mapping[str, bytes] = BERT,
    *,
    repo: str = "org/bert",
    kind: str = "model",
    commit: str = C1,
    revision: str = "main",
    allow: tuple[str, ...] = (),
) -> LockedModel:
    """A lock of one repository."""
    return LockedModel(
        request=ModelRequest(repo=Repo(kind=kind, id=repo), revision=revision, allow=allow),  # type: ignore[arg-type]
        commit=commit,
        files=tuple(
            ModelFile(path=path, size=len(data), sha256=sha256(data), blob=blob_name(path, data))
            for path, data in sorted(files.items())
        ),
    )


def store_with(root: Path, *contents: bytes) -> Store:
    """A store that holds these files, or more of them."""
    store = Store.create(root)
    for data in contents:
        part = root / "parts" / sha256(data)
        part.write_bytes(data)
        store.insert(part, sha256(data))
        store.name(git_sha1(data), sha256(data))
    return store


def place(path: Path, **given: object) -> Place:
    return Place(**{"path": path, "owner": US, **given})  # type: ignore[arg-type]


def view(store: Store, path: Path, *models: LockedModel, **given: object) -> ViewResult:
    """Make a view."""
    return build(
        store,
        plan_view(models),
        place(path, **given),
        SilentReporter(),
        locks=store.root.parent / "locks",
    )


def tree(folder: Path) -> dict[str, str]:
    """Everything below: what links point to, `inode` of hardlinks, text of the rest."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            links = path.stat().st_nlink
            found[name] = "linked" if links > 1 else path.read_bytes()[:60].decode("latin-1")
    return found


def assert_usable(top: Path, context: object) -> None:
    """Where a ref names a commit, that snapshot is there, and all its names lead to whole files."""
    for ref in top.glob("*/refs/*"):
        snapshot = ref.parents[1] / "snapshots" / ref.read_text()
        assert snapshot.is_dir(), context
        assert all(path.exists() for path in snapshot.rglob("*")), context
        listing = ref.parents[1] / "trees" / f"{ref.read_text()}.json"
        files = json.loads(listing.read_text())["files"] if listing.exists() else {}
        for path, said in files.items():
            assert (snapshot / path).stat().st_size == said["size"], context


def write_environment(folder: Path, *models: LockedModel, transformers: str = "") -> Path:
    """An environment's folder with models.yml, its lock, and a conda-lock.yml of transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = "".join(f"  - {models_yml.entry(item.request)}\n" for item in models)
    (folder / "environment.yml").write_text(f"name: {folder.name}\n")
    (folder / "models.yml").write_text(f"models:\n{entries}" if models else "models: []\n")
    (folder / "models-lock.yml").write_text(models_lock_yml.write(ModelsLock(models=models)))
    if transformers:
        package = LockedPackage(
            platform=this_platform(),
            name="transformers",
            manager="pip",
            version=transformers,
            url=f"https://x/transformers-{transformers}-py3-none-any.whl",
            sha256="a" * 64,
        )
        lock = Lock(packages=(package,), platforms=(this_platform(),), channels=(), content_hash={})
        (folder / "conda-lock.yml").write_text(conda_lock_yml.write(lock))
    return folder
