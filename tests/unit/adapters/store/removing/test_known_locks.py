"""Locks that a store was filled for, wherever they lie."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.model_store import StoreWorld

from envforge.adapters.store.removing import known_locks
from envforge.errors import InvalidFile


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return StoreWorld(tmp_path).store.root


def test_a_lock_is_remembered_once(store: Path, tmp_path: Path) -> None:
    lock = tmp_path / "envs" / "e" / "models-lock.yml"
    known_locks.remember(store, lock, ["b", "a", "a"])
    known_locks.remember(store, lock, ["c"])
    known_locks.remember(store, tmp_path / "other.yml", [])
    found = {item.path: item.hashes for item in known_locks.known(store)}
    assert found == {lock: frozenset("c"), tmp_path / "other.yml": frozenset()}


def test_the_same_again_writes_nothing(store: Path, tmp_path: Path) -> None:
    known_locks.remember(store, tmp_path / "l", ["a"])
    [note] = (store / "locks").iterdir()
    before = note.stat()
    known_locks.remember(store, tmp_path / "l", ["a"])
    assert note.stat().st_ino == before.st_ino


def test_deleted_is_not_out_of_sight(store: Path, tmp_path: Path) -> None:
    lock = tmp_path / "envs" / "e" / "models-lock.yml"
    lock.parent.mkdir(parents=True)
    lock.touch()
    known_locks.remember(store, lock, [])

    def state() -> tuple[bool, bool]:
        [item] = known_locks.known(store)
        return item.is_there, item.is_deleted

    assert state() == (True, False)
    lock.unlink()
    lock.parent.rmdir()
    assert state() == (False, True)
    lock.parent.parent.rmdir()
    assert state() == (False, False)


@pytest.mark.parametrize("target", ["e", "/nowhere/e"], ids=["loop", "no-disk"])
def test_what_cannot_be_looked_at_is_out_of_sight(store: Path, tmp_path: Path, target: str) -> None:
    """The environment's folder may not be entered, or leads to a disk that is not mounted."""
    lock = tmp_path / "envs" / "e" / "models-lock.yml"
    lock.parent.parent.mkdir()
    lock.parent.symlink_to(target)
    known_locks.remember(store, lock, [])

    [item] = known_locks.known(store)

    assert (item.is_there, item.is_deleted) == (False, False)


def test_a_lock_that_went_alone_is_deleted(store: Path, tmp_path: Path) -> None:
    (tmp_path / "envs" / "e").mkdir(parents=True)
    known_locks.remember(store, tmp_path / "envs" / "e" / "models-lock.yml", [])

    assert [item.is_deleted for item in known_locks.known(store)] == [True]


def test_nothing_is_known(tmp_path: Path) -> None:
    assert list(known_locks.known(tmp_path)) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"path": 1, "hashes": []}', '{"path": "/a"}'])
def test_a_note_that_cannot_be_read(store: Path, text: str) -> None:
    (store / "locks").mkdir(exist_ok=True)
    (store / "locks" / "x.json").write_text(text)
    with pytest.raises(InvalidFile, match="no note of a lock"):
        list(known_locks.known(store))
