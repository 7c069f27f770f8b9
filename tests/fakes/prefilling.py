"""A store, a hub and a `Forge` for prefills; and what a store holds, to compare it."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

from fakes.digests import git_sha1, sha256
from fakes.hub_repos import HubRepo
from fakes.installing import RecordingReporter
from fakes.local_hub import LocalHub

from envforge.adapters.settings import load_settings
from envforge.adapters.store.leases import leased
from envforge.adapters.store.store import Store
from envforge.forge.caching.front import ModelCache
from envforge.forge.workplace import Workplace
from envforge.formats.models import models_lock_yml
from envforge.model.fetching import Wanted
from envforge.model.models import LockedModel, ModelFile, ModelRequest, ModelsLock, Repo

WEIGHTS = random.Random(4).randbytes(700_000)
"""More than one chunk of a transfer."""
FILES = {
    "config.json": b"{}",
    "empty.txt": b"",
    "tokenizer/vocab.txt": b"a\nb\n",
    "model.safetensors": WEIGHTS,
    "small.safetensors": WEIGHTS[:5000],
}
REPO = "org/name"


def wanted(data: bytes, path: str = "model.safetensors", *, known: bool = True) -> Wanted:
    """A file as the lock knows it: weights by their sha256, others by git's name as well."""
    lfs = path.endswith(".safetensors")
    return Wanted(
        repo=Repo(id=REPO),
        commit="c" * 40,
        path=path,
        size=len(data),
        blob=sha256(data) if lfs else git_sha1(data),
        sha256=sha256(data) if lfs or known else "",
    )


def lock_of(repo: HubRepo, revision: str = "main") -> ModelsLock:
    """What `envforge cache lock` makes of all its files."""
    request = ModelRequest(repo=Repo(id=repo.id, kind=repo.kind), revision=revision)  # type: ignore[arg-type]
    files = tuple(
        ModelFile(path=path, size=blob.size, sha256=blob.sha256, blob=blob.etag)
        for path, blob in sorted(repo.files.items())
    )
    return ModelsLock(models=(LockedModel(request=request, commit=repo.head, files=files),))


class PrefillWorld:
    """One place with a store; environments are folders that hold models only."""

    def __init__(self, root: Path, hub: LocalHub | None, **environ: str) -> None:
        root.chmod(0o755)
        self.root = root
        self.reporter = RecordingReporter()
        self.environ = {
            "HOME": str(root),
            "ENVFORGE_STORE": str(root / "store"),
            "ENVFORGE_ENVS": str(root / "envs"),
            **({"HF_ENDPOINT": hub.url} if hub else {}),
            **environ,
        }
        self.store = Store.create(root / "store")

    @property
    def cache(self) -> ModelCache:
        settings = load_settings(self.environ, self.root)
        return ModelCache(Workplace(settings=settings, reporter=self.reporter))

    def env(self, name: str, *repos: HubRepo) -> Path:
        """An environment that locks all files of these."""
        folder = self.root / "envs" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "environment.yml").write_text(f"name: {name}\ndependencies: []\n")
        lines = "".join(f"  - {repo.id}\n" for repo in repos)
        (folder / "models.yml").write_text(f"models:\n{lines}" if lines else "models: []\n")
        models = tuple(model for repo in repos for model in lock_of(repo).models)
        (folder / "models-lock.yml").write_text(models_lock_yml.write(ModelsLock(models=models)))
        return folder


def contents(store: Path) -> dict[str, tuple[int, str]]:
    """All that counts as content: every file and every other name, with mode and hash.

    Seen to be right on the way: a file has the hash that its name tells, and one name only.
    """
    found = {}
    for path in sorted(store.rglob("*")):
        name = str(path.relative_to(store))
        top = name.partition("/")[0]
        if not path.is_file() or (len(top) != 2 and top != "index") or path.name.startswith("."):
            continue
        digest = sha256(path.read_bytes())
        assert top == "index" or path.name == digest, f"{name} holds other bytes"
        found[name] = (stat.S_IMODE(path.stat().st_mode), digest)
    return found


def is_clean(store: Path) -> bool:
    """Whether nothing is left of any prefill, and every file has one name only."""
    parts = list(os.scandir(store / "parts"))
    links = [path for path in store.glob("[0-9a-f][0-9a-f]/*") if path.stat().st_nlink != 1]
    return not parts and not links and not leased(store)
