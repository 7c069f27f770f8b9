"""`ModelCache.adopt`: caches that are there become links to the store."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.hub_caches import contents, flat, git_sha1, hub_repo, inode, local, put, sha256
from fakes.model_store import StoreWorld

from envforge.adapters.store import leases
from envforge.adapters.store.dedupe import adopting as adapter
from envforge.adapters.store.dedupe import exchanging
from envforge.cache.dedupe_plan import EDITED
from envforge.errors import NoStore, NotStoreOwner, StoreFull
from envforge.forge.caching.front import ModelCache
from envforge.forge.workplace import Workplace

WEIGHTS = random.Random(1).randbytes(EDITED + 7)
CONFIG = b'{"a": 1}'
FILES = {"model.safetensors": WEIGHTS, "config.json": CONFIG}


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    users = tmp_path / "users"
    for name in ("ada", "bo"):
        hub_repo(users / name / "hub", FILES)
    flat(users / "cy", "https://hub/model.bin", WEIGHTS)
    local(users / "di" / "m", "model.safetensors", WEIGHTS)
    return users


def test_the_store_takes_files_where_they_lie(users: Path, world: StoreWorld) -> None:
    before, inodes = contents(users), {inode(path) for path in users.rglob("*")}

    result = world.cache.adopt([users])

    assert contents(users) == before
    assert world.names() == {sha256(WEIGHTS), sha256(CONFIG)}
    kept = world.store.path(sha256(WEIGHTS)).stat()
    assert (kept.st_mode & 0o777, kept.st_nlink) == (0o444, 5)
    assert kept.st_ino in inodes
    assert (result.adopted, result.copied, result.copies) == (2, 0, 4)
    assert result.adopted_bytes == len(WEIGHTS) + len(CONFIG)
    assert result.problems == result.damaged == ()
    assert result.freed > 3 * len(WEIGHTS)


def test_the_store_knows_files_by_the_hubs_names(users: Path, world: StoreWorld) -> None:
    world.cache.adopt([users])

    assert world.store.named(git_sha1(CONFIG)) == sha256(CONFIG)


def test_what_the_store_has_is_linked(users: Path, world: StoreWorld) -> None:
    world.file(WEIGHTS)
    before = inode(world.store.path(sha256(WEIGHTS)))

    result = world.cache.adopt([users])

    assert result.adopted == 1
    assert inode(users / "di/m/model.safetensors") == before


def test_a_second_time_nothing_is_left_to_do(users: Path, world: StoreWorld) -> None:
    world.cache.adopt([users])

    again = world.cache.adopt([users])

    assert (again.adopted, again.copies, again.read) == (0, 0, 0)


def test_a_plan_changes_nothing(users: Path, world: StoreWorld) -> None:
    inodes = {path: inode(path) for path in users.rglob("*")}

    planned = world.cache.adopt([users], dry_run=True)

    assert {path: inode(path) for path in users.rglob("*")} == inodes
    assert world.names() == set()
    done = world.cache.adopt([users])
    assert (planned.adopted, planned.adopted_bytes) == (done.adopted, done.adopted_bytes)
    assert (planned.copies, planned.freed) == (done.copies, done.freed)


def test_a_damaged_file_does_not_come_in(users: Path, world: StoreWorld) -> None:
    bad = users / "ada/hub/models--org--m/blobs" / sha256(WEIGHTS)
    put(bad, WEIGHTS[::-1])

    result = world.cache.adopt([users / "ada"])

    assert world.names() == {sha256(CONFIG)}
    assert result.damaged == ((str(bad), sha256(WEIGHTS)),)
    assert (bad.stat().st_mode & 0o777, bad.read_bytes()) == (0o644, WEIGHTS[::-1])


def test_a_good_copy_comes_in_though_another_is_damaged(users: Path, world: StoreWorld) -> None:
    bad = users / "ada/hub/models--org--m/blobs" / sha256(WEIGHTS)
    put(bad, WEIGHTS[::-1])

    world.cache.adopt([users])

    assert sha256(world.store.path(sha256(WEIGHTS)).read_bytes()) == sha256(WEIGHTS)
    assert bad.read_bytes() == WEIGHTS[::-1]


def test_a_damaged_file_of_the_store_is_spread_no_further(users: Path, world: StoreWorld) -> None:
    world.file(WEIGHTS)
    stored = world.store.path(sha256(WEIGHTS))
    stored.chmod(0o644)
    stored.write_bytes(WEIGHTS[::-1])

    result = world.cache.adopt([users])

    assert (str(stored), sha256(WEIGHTS)) in result.damaged
    assert (users / "di/m/model.safetensors").read_bytes() == WEIGHTS


def test_a_file_that_somebody_writes_is_copied(users: Path, world: StoreWorld) -> None:
    """Who has it open could still change it, read-only or not."""
    only = users / "ada"
    mine = only / "hub/models--org--m/blobs" / sha256(WEIGHTS)
    with mine.open("r+b") as stream:
        result = world.cache.adopt([only])

        stored = world.store.path(sha256(WEIGHTS))
        assert (result.adopted, result.copied) == (2, 1)
        stream.write(b"mine")
        stream.flush()
        assert stored.read_bytes() == WEIGHTS


def test_a_copy_becomes_a_link_as_well(users: Path, world: StoreWorld) -> None:
    only = users / "ada"
    mine = only / "hub/models--org--m/blobs" / sha256(WEIGHTS)
    with mine.open("r+b"):
        world.cache.adopt([only])

    assert inode(mine) == inode(world.store.path(sha256(WEIGHTS)))


def test_without_leases_files_are_copied(
    users: Path, world: StoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(22, "invalid argument")

    monkeypatch.setattr(exchanging.fcntl, "fcntl", refuse)

    result = world.cache.adopt([users])

    assert result.copied == result.adopted == 2
    assert inode(users / "di/m/model.safetensors") == inode(world.store.path(sha256(WEIGHTS)))


def test_across_filesystems_files_are_copied_and_stay(
    users: Path, tmp_path: Path, other_disk: Path
) -> None:
    world = StoreWorld(tmp_path, store=other_disk / "store")
    inodes = {path: inode(path) for path in users.rglob("*")}

    result = world.cache.adopt([users])

    assert (result.adopted, result.copied, result.copies) == (2, 2, 0)
    assert {path: inode(path) for path in users.rglob("*")} == inodes
    assert world.names() == {sha256(WEIGHTS), sha256(CONFIG)}
    assert list((world.store.root / "parts").iterdir()) == []


def test_no_room_is_said_before_anything_is_copied(
    users: Path, tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = StoreWorld(tmp_path, store=other_disk / "store")
    real = os.statvfs

    def full(path: Path) -> os.statvfs_result:
        fields = list(real(path))
        fields[4] = 10  # f_bavail
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", full)

    with pytest.raises(StoreFull):
        world.cache.adopt([users])

    assert world.names() == set()


def test_what_is_looked_for_is_leased(
    users: Path, world: StoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection must not take it away between the look and the link."""
    world.file(WEIGHTS)
    seen: list[frozenset[str]] = []
    take = adapter.Adopter._take
    monkeypatch.setattr(
        adapter.Adopter,
        "_take",
        lambda self, wanted: (seen.append(leases.leased(world.store.root)), take(self, wanted)),
    )

    world.cache.adopt([users])

    assert all(sha256(WEIGHTS) in hashes for hashes in seen)
    assert leases.leased(world.store.root) == frozenset()


def test_the_store_itself_is_not_adopted(users: Path, world: StoreWorld) -> None:
    world.file(b"x")

    result = world.cache.adopt([users, world.store.root])

    assert result.stores == ()
    assert result.problems == ()


def test_it_can_be_taken_back(users: Path, world: StoreWorld) -> None:
    world.cache.adopt([users])

    world.cache.undo_dedupe()

    mine = users / "di/m/model.safetensors"
    assert inode(mine) != inode(world.store.path(sha256(WEIGHTS)))
    assert mine.stat().st_mode & 0o777 == 0o644


def test_without_a_store_it_is_said(users: Path, world: StoreWorld, tmp_path: Path) -> None:
    cache = ModelCache(Workplace(settings=replace(world.settings, store=tmp_path / "none")))

    with pytest.raises(NoStore):
        cache.adopt([users])


def test_a_store_of_somebody_else_takes_nothing(
    users: Path, world: StoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4001)

    with pytest.raises(NotStoreOwner, match="take files into it"):
        world.cache.adopt([users])
