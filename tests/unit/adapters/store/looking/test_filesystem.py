"""What is seen of a store's disk and surroundings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envforge.adapters.store.looking import filesystem
from envforge.adapters.store.store import Store
from envforge.cache.disk_facts import Surroundings


def look(tmp_path: Path, *, speed: bool = False, **environment: str) -> Surroundings:
    store = tmp_path / "store"
    return filesystem.look(store, store / "views", environment, home=tmp_path / "home", speed=speed)


def test_a_store(tmp_path: Path) -> None:
    Store.create(tmp_path / "store")

    seen = look(tmp_path)

    assert seen.is_store
    assert seen.distrust == ""
    assert seen.store.owner == seen.uid == os.geteuid()
    assert seen.store.kind
    assert seen.store.free_bytes > 0
    assert {Path(item.path).name for item in seen.folders} >= {"store", "parts", "views"}
    assert seen.hub.named_by == "HOME"
    assert seen.umask is not None
    assert not seen.is_served


def test_a_place_for_a_store(tmp_path: Path) -> None:
    seen = look(tmp_path)

    assert not seen.is_store
    assert not seen.store.exists
    assert seen.store.nearest == str(tmp_path)
    assert seen.folders == ()
    assert seen.trials.hardlink == ""


def test_a_folder_that_others_may_write(tmp_path: Path) -> None:
    Store.create(tmp_path / "store")
    (tmp_path / "store").chmod(0o777)

    seen = look(tmp_path)

    assert "others than its owner may write it" in seen.distrust
    assert seen.distrust_remedy.startswith("chmod go-w")


def test_variables_and_no_tokens(tmp_path: Path) -> None:
    seen = look(tmp_path, HF_HOME="/data", PATH="/bin", HF_TOKEN="hf_secret")  # noqa: S106

    assert dict(seen.variables) == {"HF_HOME": "/data"}
    assert "hf_secret" not in repr(seen)
    assert seen.hub.place.path == "/data/hub"


def test_what_waits_in_quarantine_is_counted(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    (store.root / "quarantine" / "x").write_bytes(b"")

    assert look(tmp_path).quarantined == 1


def test_the_largest_file_is_what_speed_is_measured_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create(tmp_path / "store")
    monkeypatch.setattr(filesystem, "_LARGE", 3)
    part = store.root / "parts" / "part"
    part.write_bytes(b"large")
    path = store.insert(part, "a" * 64)

    assert filesystem._large_file(store.root) == path
    assert (look(tmp_path, speed=True).trials.read_rate or 0) > 0


def test_locks_that_we_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = tmp_path / "home/.cache/huggingface/hub"
    lock = hub / ".locks/models--a--b/x.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    (hub / "models--a--b/refs").mkdir(parents=True)
    (hub / "version.txt").touch()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    monkeypatch.setattr(os, "access", lambda path, _: "/.locks" not in str(path))

    seen = look(tmp_path)

    assert seen.hub.foreign_count == 3
    assert str(lock) in seen.hub.foreign


def test_a_relative_cache_is_looked_for_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert look(tmp_path, HF_HUB_CACHE="models").hub.place.path == str(tmp_path / "models")
