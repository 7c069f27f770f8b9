"""Files leave the store only when nothing has come to need them, at whatever moment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.model_store import StoreWorld

from envforge.adapters.store import holders
from envforge.adapters.store.looking import scan
from envforge.adapters.store.removing import trash
from envforge.cache.survey import StoredFile
from envforge.errors import FileNotUsable


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


def found(world: StoreWorld) -> list[StoredFile]:
    return list(scan.stored_files(world.store, reads=True, count=lambda _: None))


def in_trash(world: StoreWorld) -> list[str]:
    return sorted(path.name for path in (world.store.root / "trash").iterdir())


def nothing() -> frozenset[str]:
    return frozenset()


def later(action: Callable[[], object]) -> Callable[[], frozenset[str]]:
    """Needed: nothing; `action` happens between the files' way into the trash and the last look."""
    calls = iter((lambda: None, action))

    def needed() -> frozenset[str]:
        next(calls)()
        return frozenset()

    return needed


def test_what_nothing_needs_goes(world: StoreWorld) -> None:
    hashes = world.files(70)
    outcomes = list(trash.discard(world.store, found(world), nothing))
    assert {item.sha256 for item, removed in outcomes if removed} == set(hashes)
    assert world.names() == set()
    assert in_trash(world) == []


def test_what_is_needed_at_the_first_look_is_not_touched(world: StoreWorld) -> None:
    sha = world.file(b"x")
    inode = world.store.path(sha).stat().st_ctime_ns
    [(_, removed)] = trash.discard(world.store, found(world), lambda: {sha})
    assert not removed
    assert world.store.path(sha).stat().st_ctime_ns == inode


def test_a_lease_that_comes_in_between_brings_it_back(world: StoreWorld) -> None:
    sha = world.file(b"x")
    looks = iter((frozenset[str](), frozenset({sha})))
    [(_, removed)] = trash.discard(world.store, found(world), lambda: next(looks))
    assert not removed
    assert world.names() == {sha}
    assert in_trash(world) == []
    assert world.store.path(sha).stat().st_nlink == 1


def test_a_link_that_comes_in_between_brings_it_back(world: StoreWorld, tmp_path: Path) -> None:
    """Whoever opened the file before it was moved can still link it (`/proc/self/fd`)."""
    sha = world.file(b"x")

    def link() -> None:
        [name] = in_trash(world)
        os.link(world.store.root / "trash" / name, tmp_path / "view")

    [(_, removed)] = trash.discard(world.store, found(world), later(link))
    assert not removed
    assert world.store.path(sha).samefile(tmp_path / "view")


def test_a_use_that_comes_in_between_brings_it_back(world: StoreWorld) -> None:
    """A prefill that finds a file touches it (utime), and may be over by the second look."""
    sha = world.file(b"x")

    def touch() -> None:
        [name] = in_trash(world)
        os.utime(world.store.root / "trash" / name)

    [(_, removed)] = trash.discard(world.store, found(world), later(touch))
    assert not removed
    assert world.names() == {sha}


@pytest.mark.parametrize(
    "change", ["linked", "unlinked again", "touched", "read", "replaced", "gone"]
)
def test_a_file_that_is_not_as_it_was_planned_stays(
    world: StoreWorld, tmp_path: Path, change: str
) -> None:
    sha = world.file(b"x")
    planned, path = found(world), world.store.path(sha)
    if change == "gone":
        path.unlink()
    elif change == "touched":
        os.utime(path)
    elif change == "read":
        atime = path.stat().st_atime_ns + 10**9
        os.utime(path, ns=(atime, path.stat().st_mtime_ns))
    elif change == "replaced":
        path.rename(tmp_path / "old")
        world.file(b"x")
    else:
        os.link(path, tmp_path / "view")
        if change == "unlinked again":
            (tmp_path / "view").unlink()
    [(_, removed)] = trash.discard(world.store, planned, nothing)
    assert not removed
    assert path.exists() == (change != "gone")
    assert in_trash(world) == []


def test_a_file_that_came_anew_meanwhile_is_not_replaced(world: StoreWorld) -> None:
    sha = world.file(b"x")
    looks = iter((frozenset[str](), frozenset({sha})))

    def needed() -> frozenset[str]:
        if in_trash(world):
            world.file(b"x")
        return next(looks)

    list(trash.discard(world.store, found(world), needed))
    assert world.names() == {sha}
    assert in_trash(world) == []


def test_another_run_that_settles_ours_first(world: StoreWorld) -> None:
    sha = world.file(b"x")

    def steal() -> None:
        for name in in_trash(world):
            (world.store.root / "trash" / name).unlink()

    [(item, removed)] = trash.discard(world.store, found(world), later(steal))
    assert (item.sha256, removed) == (sha, False)


def test_an_error_puts_everything_back(world: StoreWorld) -> None:
    hashes = world.files(5)

    def fail() -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(FileNotUsable, match="input/output error"):
        list(trash.discard(world.store, found(world), later(fail)))
    assert world.names() == set(hashes)
    assert in_trash(world) == []


def test_ctrl_c_puts_everything_back(world: StoreWorld) -> None:
    hashes = world.files(5)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(trash.discard(world.store, found(world), later(interrupt)))
    assert world.names() == set(hashes)


# --- after a kill ---------------------------------------------------------------------------


def leave(world: StoreWorld, sha: str, holder: str = "gone-by-now", *, both: bool = False) -> Path:
    """What a run leaves that was killed: the file in the trash, and with `both` at home as well."""
    path = world.store.path(sha)
    aside = world.store.root / "trash" / f"{path.name}~{holder}"
    os.link(path, aside)
    if not both:
        path.unlink()
    return aside


def test_leftovers_go(world: StoreWorld) -> None:
    aside = leave(world, world.file(b"x" * 5000))
    size = aside.stat().st_blocks * 512
    assert trash.settle_leftovers(world.store, nothing) == (1, size)
    assert in_trash(world) == []
    assert world.names() == set()


def test_leftovers_that_are_needed_come_back(world: StoreWorld, tmp_path: Path) -> None:
    needed, linked = world.file(b"n"), world.file(b"l")
    world.store.link(linked, tmp_path / "view")
    leave(world, needed)
    leave(world, linked)
    assert trash.settle_leftovers(world.store, lambda: {needed}) == (0, 0)
    assert world.names() == {needed, linked}
    assert in_trash(world) == []


def test_a_kill_between_the_two_names(world: StoreWorld) -> None:
    sha = world.file(b"x")
    leave(world, sha, both=True)
    assert trash.settle_leftovers(world.store, nothing) == (0, 0)
    assert world.names() == {sha}
    assert world.store.path(sha).stat().st_nlink == 1


def test_what_was_fetched_again_stays(world: StoreWorld) -> None:
    sha = world.file(b"x")
    leave(world, sha)
    world.file(b"x")
    trash.settle_leftovers(world.store, nothing)
    assert world.names() == {sha}


def test_a_run_that_is_at_it_is_left_alone(world: StoreWorld) -> None:
    aside = leave(world, world.file(b"x"), holders.me())
    strange = world.store.root / "trash" / "notes.txt"
    strange.touch()
    assert trash.settle_leftovers(world.store, nothing) == (0, 0)
    assert aside.exists()
    assert strange.exists()


def test_a_trash_that_cannot_be_read(world: StoreWorld) -> None:
    (world.store.root / "trash").rmdir()
    with pytest.raises(FileNotUsable, match="trash"):
        trash.settle_leftovers(world.store, nothing)


def test_what_another_run_moves_while_we_look_is_its_to_settle(world: StoreWorld) -> None:
    """Whoever took a lease meanwhile had found it in the store: our look came before that."""
    sha = world.file(b"x")
    aside: list[Path] = []

    def needed() -> frozenset[str]:
        aside.append(leave(world, sha, "f" * 16 + "-1-1-aa"))  # of another host
        return frozenset()

    assert trash.settle_leftovers(world.store, needed) == (0, 0)
    assert aside[0].exists()
