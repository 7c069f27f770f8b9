from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.viewing import C1

from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry
from envforge.errors import InvalidFile
from envforge.model.models import Repo
from envforge.model.views import RegisteredView, ViewedModel

VIEW = RegisteredView(
    path="/srv/views/a",
    owner=1000,
    environment="nlp",
    layout="flat",
    models=(ViewedModel(repo=Repo(kind="dataset", id="org/d"), commit=C1, revision="main"),),
    modes={"b" * 64: "copy", "a" * 64: "hardlink"},
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return Store.create(tmp_path / "store").root


def test_what_is_noted_is_found(store: Path) -> None:
    assert registry.find(store, VIEW.path) is None
    assert registry.register(store, VIEW)
    assert not registry.register(store, VIEW)

    assert registry.find(store, VIEW.path) == VIEW
    assert registry.views(store) == (VIEW,)
    assert registry.forget(store, VIEW.path)
    assert not registry.forget(store, VIEW.path)
    assert registry.views(store) == ()


def test_the_file_is_as_agreed(store: Path) -> None:
    registry.register(store, VIEW)

    [file] = registry.folder(store).glob("*.json")

    assert len(file.stem) == 16
    assert json.loads(file.read_text()) == {
        "path": "/srv/views/a",
        "owner": 1000,
        "environment": "nlp",
        "source": "",
        "layout": "flat",
        "hub": "",
        "models": [{"repo": "org/d", "kind": "dataset", "commit": C1, "revision": "main"}],
        "modes": {"a" * 64: "hardlink", "b" * 64: "copy"},
    }


@pytest.mark.parametrize("text", ["", "[]", '{"path": "/x"}', '{"path": 1, "owner": "x"}'])
def test_a_record_that_cannot_be_read_is_no_empty_one(store: Path, text: str) -> None:
    """Else a collection would take for unused what a view shows."""
    registry.register(store, VIEW)
    registry.file_of(store, VIEW.path).write_text(text)
    for read in (lambda: registry.find(store, VIEW.path), lambda: registry.views(store)):
        with pytest.raises(InvalidFile):
            read()
    registry.file_of(store, VIEW.path).write_bytes(b"\xff")
    with pytest.raises(InvalidFile):
        registry.views(store)


def test_a_path_in_another_encoding(store: Path) -> None:
    odd = RegisteredView(path="/x/\udcff\n", owner=0)
    registry.register(store, odd)
    assert registry.find(store, odd.path) == odd


def test_one_at_a_time(store: Path) -> None:
    folder = registry.folder(store)
    with registry.held(folder, "/a", pytest.fail), registry.held(folder, "/b", pytest.fail):
        pass
    assert registry.views(store) == ()
