"""All locks that keep files in a store, here and elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fakes.model_store import StoreWorld

from envforge.adapters.store.removing import known_locks
from envforge.errors import InvalidFile
from envforge.forge.caching.locks_in_use import LocksInUse


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


def locks(world: StoreWorld) -> LocksInUse:
    return LocksInUse(world.workplace, world.store)


def test_those_of_the_folder_of_environments(world: StoreWorld) -> None:
    sha = world.file(b"x")
    world.lock("e", "o/m", {"a": sha})
    (world.settings.envs_folder / "f").mkdir()
    (world.settings.envs_folder / "f" / "environment.yml").write_text("name: f\n")
    assert locks(world).hashes() == {sha}
    [found], problems = locks(world).readable()
    assert found.environment == "e"
    assert problems == ()


def test_those_that_were_prefilled_from_elsewhere(world: StoreWorld, tmp_path: Path) -> None:
    sha, before = world.file(b"x"), world.file(b"y")
    lock = world.lock("e", "o/m", {"a": sha}, envs=tmp_path / "elsewhere")
    known_locks.remember(world.store.root, lock, [before])
    assert locks(world).hashes() == {sha}  # as it is now


def test_a_lock_that_is_both_counts_once(world: StoreWorld) -> None:
    lock = world.lock("e", "o/m", {"a": world.file(b"x")})
    known_locks.remember(world.store.root, lock, [])
    found, _ = locks(world).readable()
    assert len(found) == 1


def test_a_disk_that_is_not_mounted_keeps_what_was_named(world: StoreWorld, tmp_path: Path) -> None:
    sha = world.file(b"x")
    lock = tmp_path / "mnt" / "envs" / "e" / "models-lock.yml"
    known_locks.remember(world.store.root, lock, [sha])
    found = locks(world)
    assert found.hashes() == {sha}
    assert [item.path for item in found.unseen] == [lock]
    assert found.readable()[1] == (f"`{lock}` is out of sight: is its disk mounted?",)


def test_an_environment_that_was_deleted_keeps_nothing(world: StoreWorld) -> None:
    sha = world.file(b"x")
    lock = world.lock("e", "o/m", {"a": sha})
    known_locks.remember(world.store.root, lock, [sha])
    shutil.rmtree(lock.parent)
    found = locks(world)
    assert found.hashes() == frozenset()
    assert [item.path for item in found.deleted] == [lock]


def test_changes_are_seen_and_nothing_is_read_twice(
    world: StoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = world.file(b"x"), world.file(b"y")
    world.lock("e", "o/m", {"a": x})
    found = locks(world)
    assert found.hashes() == {x}
    with monkeypatch.context() as patch:
        patch.setattr("envforge.forge.caching.model_files.read_lock", None)
        assert found.hashes() == {x}
    world.lock("f", "o/m", {"a": y})
    assert found.hashes() == {x, y}


def test_one_that_cannot_be_read(world: StoreWorld) -> None:
    """Nobody can tell what it names: `scan` goes on, and a collection does not."""
    world.lock("e", "o/m", {"a": world.file(b"x")}).write_text("models: [\n")
    with pytest.raises(InvalidFile):
        locks(world).hashes()
    found, [problem] = locks(world).readable()
    assert found == ()
    assert "models-lock.yml" in problem
