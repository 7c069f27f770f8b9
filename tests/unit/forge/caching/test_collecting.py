"""What `gc` removes, and what stays."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.model_store import StoreWorld, disk

from envforge.adapters.store.arriving.claims import Claims
from envforge.adapters.store.leases import lease
from envforge.adapters.store.looking import scan
from envforge.adapters.store.removing import known_locks, sweeping
from envforge.adapters.store.trees import registry
from envforge.errors import FileNotUsable, InvalidFile, NotStoreOwner
from envforge.forge.caching import collecting
from envforge.model.views import RegisteredView


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


def test_only_what_nothing_uses_goes(world: StoreWorld) -> None:
    linked, locked, leased, copied, unused = (world.file(text.encode() * 5000) for text in "abcde")
    world.view("v", "o/m", {"w": linked, "c": copied}, modes={copied: "copy"})
    world.lock("e", "o/m", {"w": locked})
    size = disk(world.store.path(unused))
    with lease(world.store.root, [leased], purpose="prefill"):
        done = world.cache.collect(older_than=0)
    assert world.names() == {linked, locked, leased, copied}
    assert [item.sha256 for item in done.removed] == [unused]
    assert done.freed == size
    assert {reason: count for reason, (count, _) in done.plan.kept.items()} == dict.fromkeys(
        ("linked", "locked", "leased", "copied"), 1
    )
    assert list((world.store.root / "trash").iterdir()) == []


def test_a_dry_run_says_the_same_and_does_nothing(world: StoreWorld) -> None:
    hashes = world.files(3)
    planned = world.cache.collect(older_than=0, dry_run=True)
    assert world.names() == set(hashes)
    assert not (world.store.root / "leases" / collecting.LOCK).exists()
    done = world.cache.collect(older_than=0)
    assert planned.freed == done.freed > 0
    assert world.names() == set()


def test_the_grace(world: StoreWorld) -> None:
    world.files(3)
    done = world.cache.collect(older_than=3600)
    assert done.freed == 0
    assert list(done.plan.kept) == ["young"]


def test_the_grace_begins_when_the_last_view_goes(world: StoreWorld) -> None:
    """However old the file is: the kernel changes ctime with the link count."""
    sha = world.file(b"x")
    old = time.time() - 400 * 86400
    os.utime(world.store.path(sha), (old, old))
    view = world.view("v", "o/m", {"w": sha})
    shutil.rmtree(view)
    assert world.cache.collect(older_than=60).removed == ()
    assert world.cache.collect(older_than=0).removed


def test_a_view_whose_user_removed_the_model_keeps_nothing(world: StoreWorld) -> None:
    sha = world.file(b"x")
    view = world.view("v", "o/m", {"w": sha})
    shutil.rmtree(view / "models--o--m")
    world.cache.collect(older_than=0)
    assert world.names() == set()


def test_copies_in_a_view_that_is_gone_keep_nothing(world: StoreWorld) -> None:
    sha = world.file(b"x")
    view = world.view("v", "o/m", {"w": sha}, modes={sha: "reflink"})
    assert not world.cache.collect(older_than=0).removed
    shutil.rmtree(view)
    assert world.cache.collect(older_than=0).removed


def test_views_that_were_deleted_are_forgotten(world: StoreWorld) -> None:
    sha = world.file(b"x")
    deleted, out_of_sight, kept = (
        world.view(name, "o/m", {"w": sha}) for name in ("deleted", "there/hidden", "kept")
    )
    shutil.rmtree(deleted)
    shutil.rmtree(out_of_sight.parent)  # as where a disk is not mounted
    world.cache.collect(older_than=0)
    known = {view.path for view in registry.views(world.store.root)}
    assert known == {str(out_of_sight), str(kept)}


def test_a_view_that_cannot_be_looked_at_keeps_its_copies(world: StoreWorld) -> None:
    """As where its folder may not be entered; a name that is too long says that to root, too."""
    sha = world.file(b"x")
    view = world.root / ("v" * 300)
    noted = RegisteredView(path=str(view), owner=0, environment="", models=(), modes={sha: "copy"})
    registry.register(world.store.root, noted)

    done = world.cache.collect(older_than=0)

    assert (done.removed, list(done.plan.kept)) == ((), ["copied"])
    assert [known.path for known in registry.views(world.store.root)] == [str(view)]


def test_a_dry_run_removes_no_lease(world: StoreWorld) -> None:
    path = world.store.root / "leases" / "x-1-aa.json"
    path.write_text('{"holder": "ffffffffffffffff-1-1-aa", "hashes": []}')
    os.utime(path, (0, 0))

    world.cache.collect(older_than=0, dry_run=True)
    assert path.exists()
    world.cache.collect(older_than=0)
    assert not path.exists()


def test_a_lease_counts_by_the_clock_of_the_store(
    world: StoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours is an hour ahead of the file server's: a lease of a moment ago is not dead."""
    sha, real = world.file(b"x"), time.time
    path = world.store.root / "leases" / "x-1-aa.json"
    path.write_text(f'{{"holder": "ffffffffffffffff-1-1-aa", "hashes": ["{sha}"]}}')
    monkeypatch.setattr(time, "time", lambda: real() + 3600)

    assert world.cache.collect(older_than=0).removed == ()
    assert path.exists()


def test_without_flock_the_clock_is_not_that_of_the_first_collection(world: StoreWorld) -> None:
    sha, long_ago = world.file(b"x"), time.time() - 86400
    lock = world.store.root / "leases" / collecting.LOCK
    lock.touch()
    os.utime(lock, (long_ago, long_ago))

    with no_flock():
        assert [item.sha256 for item in world.cache.collect(older_than=0).removed] == [sha]


@contextmanager
def no_flock() -> Iterator[None]:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        yield


def test_what_killed_processes_never_finished_goes(world: StoreWorld) -> None:
    root, sha = world.store.root, world.file(b"x")
    world.store.name("ab" * 20, sha)
    world.view("v", "o/m", {"w": sha})
    known_locks.remember(root, world.root / "mnt/envs/e/l.yml", [])
    places = (root, root / "leases", root / "locks", root / "index/ab", root / "views/registry")
    scraps = [place / f".{name}.0123abcd.tmp" for place in places for name in ("old", "new")]
    for path in scraps:
        path.write_text("half of")
    before = {path for path in root.rglob("*") if path.is_file()} - set(scraps)

    assert world.cache.collect(older_than=0).scraps == (0, 0), "somebody may be writing them"
    old = scraps[::2]
    later = time.time() + 7200
    planned = sweeping.sweepings(root, now=later, older_than=0)
    assert set(planned.scraps) == set(scraps)
    assert sweeping.sweepings(root, now=later, older_than=9000).scraps == ()
    for path in old:
        path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeping, "_WRITTEN_WITHIN", 0.0)
        assert world.cache.collect(older_than=0, dry_run=True).scraps[0] == len(scraps) - len(old)
        assert world.cache.collect(older_than=0).scraps[0] == len(scraps) - len(old)
    left = {path for path in root.rglob("*") if path.is_file()}
    assert left - {root / "leases" / collecting.LOCK} == before - {
        root / "leases" / collecting.LOCK
    }


def test_damaged_files_go_after_their_grace(world: StoreWorld, tmp_path: Path) -> None:
    lonely, shown = world.file(b"l" * 5000), world.file(b"s" * 5000)
    world.store.link(shown, tmp_path / "in-a-view")
    aside = [world.store.quarantine(world.store.path(sha)) for sha in (lonely, shown)]
    size = disk(aside[0])

    assert world.cache.collect(older_than=3600).damaged == (0, 0)
    assert world.cache.collect(older_than=0, dry_run=True).damaged == (1, size)
    done = world.cache.collect(older_than=0)

    assert (done.damaged, done.freed) == ((1, size), size)
    assert [path.exists() for path in aside] == [False, True]
    assert "verify --repair" in "".join(done.notes)


def test_until_enough_is_free(world: StoreWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for sha in world.files(5, size=5000):
        when = time.time() - 86400 * 365
        os.utime(world.store.path(sha), (when, when))
    each = disk(world.store.path(sha))
    monkeypatch.setattr(collecting, "_free", lambda _: 1000)
    done = world.cache.collect(older_than=0, keep_free=1000 + 2 * each)
    assert len(done.removed) == 2
    assert done.plan.kept == {"enough free": (3, 3 * each)}
    monkeypatch.setattr(collecting, "_free", lambda _: 10**15)
    assert world.cache.collect(older_than=0, keep_free=10**15).removed == ()


def test_what_is_free_is_what_the_quota_leaves(
    world: StoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "quota", lambda _: (5, None))
    assert collecting._free(world.root) == 5
    monkeypatch.setattr(collecting, "quota", lambda _: (None, None))
    assert collecting._free(world.root) > 5
    with pytest.raises(FileNotUsable):
        collecting._free(world.root / "missing")


def test_locks_elsewhere_count(world: StoreWorld, tmp_path: Path) -> None:
    sha = world.file(b"x")
    lock = world.lock("e", "o/m", {"a": sha}, envs=tmp_path / "elsewhere")
    known_locks.remember(world.store.root, lock, [sha])
    assert world.cache.collect(older_than=0).removed == ()


def test_a_deleted_environment_is_forgotten_and_its_files_go(world: StoreWorld) -> None:
    sha = world.file(b"x")
    lock = world.lock("e", "o/m", {"a": sha})
    known_locks.remember(world.store.root, lock, [sha])
    shutil.rmtree(lock.parent)
    world.cache.collect(older_than=0, dry_run=True)
    assert len(list(known_locks.known(world.store.root))) == 1
    assert world.cache.collect(older_than=0).removed
    assert list(known_locks.known(world.store.root)) == []


def test_a_lock_out_of_sight_keeps_its_files_and_is_told(world: StoreWorld) -> None:
    sha = world.file(b"x")
    known_locks.remember(world.store.root, world.root / "mnt" / "envs" / "e" / "l.yml", [sha])
    done = world.cache.collect(older_than=0)
    assert done.removed == ()
    assert "out of sight" in done.notes[0]


def test_a_lock_that_is_written_meanwhile_counts(world: StoreWorld) -> None:
    sha = world.file(b"x")
    run = collecting._Run(world.workplace, world.store, 0.0, None)
    plan, _ = run._plan(time.time() + 1)
    assert len(plan.remove) == 1
    world.lock("e", "o/m", {"a": sha})
    assert list(run._removed(plan)) == []
    assert world.names() == {sha}


def test_what_cannot_be_read_stops_everything(world: StoreWorld) -> None:
    sha = world.file(b"x")
    lock = world.lock("e", "o/m", {})
    text = lock.read_text()
    lock.write_text("models: [\n")
    with pytest.raises(InvalidFile, match="models-lock"):
        world.cache.collect(older_than=0)
    lock.write_text(text)
    broken = registry.folder(world.store.root) / "x.json"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_text("{")
    with pytest.raises(InvalidFile, match=r"x\.json"):
        world.cache.collect(older_than=0)
    broken.unlink()
    (world.store.root / "leases" / "y.json").write_text("{")
    with pytest.raises(InvalidFile, match=r"y\.json"):
        world.cache.collect(older_than=0)
    assert world.names() == {sha}


def part(world: StoreWorld, name: str, age: float, size: int = 5000) -> Path:
    path = world.store.root / "parts" / name
    path.write_bytes(b"1" * size)
    moment = time.time() - age
    os.utime(path, (moment, moment))
    return path


def test_downloads_that_nobody_goes_on_with(world: StoreWorld) -> None:
    left = part(world, "a" * 64 + ".left.part", 5 * 86400)
    young = part(world, "b" * 64 + ".left.part", 60)
    claimed = part(world, "c" * 64 + ".left.part", 5 * 86400)
    size = disk(left)
    planned = world.cache.collect(older_than=86400, dry_run=True)
    assert planned.parts == (2, 2 * size)
    with Claims(world.store.root / "parts") as claims:
        assert claims.take("c" * 64)
        done = world.cache.collect(older_than=86400)
    assert done.parts == (1, size)
    assert done.freed == size
    assert [path.exists() for path in (left, young, claimed)] == [False, True, True]
    assert {path.suffix for path in (world.store.root / "parts").iterdir()} == {".part"}


def test_what_a_kill_left_in_the_trash(world: StoreWorld) -> None:
    sha = world.file(b"x" * 5000)
    path = world.store.path(sha)
    size = disk(path)
    path.rename(world.store.root / "trash" / f"{sha}~gone")
    done = world.cache.collect(older_than=86400)
    assert done.leftovers == (1, size)
    assert done.freed == size


def test_a_store_of_somebody_else(world: StoreWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.file(b"x")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(NotStoreOwner) as caught:
        collecting.collect(world.workplace, world.store, older_than=0)
    assert caught.value.exit_code == 6
    assert "run it as" in str(caught.value.hint)
    assert collecting.collect(world.workplace, world.store, older_than=0, dry_run=True).freed


def test_a_disk_that_refuses(world: StoreWorld) -> None:
    world.file(b"x")
    shutil.rmtree(world.store.root / "parts")
    with pytest.raises(FileNotUsable):
        world.cache.collect(older_than=0)


def test_mounts_without_reads_are_told(world: StoreWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.file(b"x")
    monkeypatch.setattr(scan, "mount_flags", lambda _: (False, False))
    [note] = world.cache.collect(older_than=0, dry_run=True).notes
    assert "records no reads" in note
    monkeypatch.setattr(scan, "mount_flags", lambda _: (False, True))
    with pytest.raises(FileNotUsable, match="read-only"):
        world.cache.collect(older_than=0)


def test_progress(world: StoreWorld) -> None:
    world.files(3)
    world.cache.collect(older_than=0)
    assert world.reporter.steps == ["looking at the store", "removing what nothing uses"]
    assert world.reporter.reports[-1] == (3, 3, "files", "")
