"""Two environments that pin a tiny BERT at two commits, their store, and the hub behind them.

with LocalHub() as hub:
    world = make_world(hub, folder)
    env = world.client_environment("old")     # pins tag v1; `new` pins main
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

from fakes.hub_repos import HubRepo
from fakes.installing import make_settings
from fakes.local_hub import LocalHub
from fakes.tiny_model import tiny_bert

from envforge.adapters.store.store import Store
from envforge.forge import Forge

STRANGER = 4001
"""A user id that nothing belongs to."""
BERT, DATA = "tiny/bert", "tiny/rows"
ROWS = b'{"text": "the cat"}\n{"text": "the dog"}\n'


@dataclass
class World:
    """Everything lies below one folder."""

    hub: LocalHub
    folder: Path
    forge: Forge
    bert: HubRepo
    first: str
    """The commit that `v1` names, and `old` pins."""
    second: str
    """The head of `main`, which `new` pins."""

    @property
    def store(self) -> Store:
        return self.forge.cache.store

    def env(self, name: str) -> str:
        """A folder that holds models.yml and its lock."""
        return str(self.folder / "envs" / name)

    def view(self, name: str, *, user: str | None = None, flat: bool = False) -> Path:
        """Make the view; where it lies."""
        made = self.forge.cache.view(self.env(name), user=user, flat=flat)
        return Path(made[-1].path)

    def client_environment(
        self, name: str, *, offline: bool = True, flat: bool = False, user: str | None = None
    ) -> dict[str, str]:
        """The variables of a program that uses the view: made first, where it is not there."""
        self.view(name, user=user, flat=flat)
        about = self.forge.cache.variables(self.env(name), user=user, offline=offline)
        home = self.folder / "client-home"
        home.mkdir(exist_ok=True)
        home.chmod(0o777)  # clients may be other users
        return {"HOME": str(home), "HF_ENDPOINT": self.hub.url, **about.variables}

    def inode(self, name: str, path: str) -> int:
        """Of the store's file that an environment's BERT has at a path."""
        return self.store.path(self.sha256(name, path)).stat().st_ino

    def sha256(self, name: str, path: str) -> str:
        commit = self.first if name == "old" else self.second
        return self.bert.commits[commit].tree[path].sha256

    def payload(self) -> dict[str, bytes]:
        """Every file of the store, by its name."""
        return {item.name: Path(item.path).read_bytes() for item in self.store.blobs()}


def make_world(hub: LocalHub, folder: Path) -> World:
    """Lock and prefill; the hub's log is empty afterwards."""
    bert = hub.add(BERT, tiny_bert(seed=1))
    first = bert.head
    bert.tag("v1")
    second = bert.commit({"model.safetensors": tiny_bert(seed=2)["model.safetensors"]})
    hub.add(DATA, {"train.jsonl": ROWS, "README.md": "# Rows\n"}, kind="dataset")
    store = folder / "store"
    settings = make_settings(folder, store=store, views=store / "views")
    variables = {"HOME": str(folder / "home"), "PATH": os.defpath, "HF_ENDPOINT": hub.url}
    forge = Forge(settings=dataclasses.replace(settings, environment=variables))
    Store.create(store)
    for name, revision in (("old", "v1"), ("new", "main")):
        place = folder / "envs" / name
        place.mkdir(parents=True)
        text = f"models:\n  - {BERT}@{revision}\n  - dataset:{DATA}\n"
        (place / "models.yml").write_text(text, encoding="utf-8")
        forge.cache.lock(str(place))
    envs = [str(folder / "envs" / name) for name in ("old", "new")]
    forge.cache.prefill(envs, view=False)
    hub.forget()
    return World(hub=hub, folder=folder, forge=forge, bert=bert, first=first, second=second)
