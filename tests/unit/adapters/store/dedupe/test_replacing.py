"""One link in the place of one copy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.hub_caches import inode, put

from envforge.adapters.store.dedupe.folders import Changed, Folders
from envforge.adapters.store.dedupe.found import LEFTOVER
from envforge.adapters.store.dedupe.replacing import aside_name, clear_leftovers, replace
from envforge.cache.dedupe_plan import Copy, Folder


def seen(*paths: Path) -> Copy:
    """A copy as a look would note it."""
    names = [(Folder.seen(str(path.parent), path.parent.stat()), path.name) for path in paths]
    return Copy(paths[0].stat(), names)


@pytest.fixture
def folders() -> Folders:
    return Folders()


def test_all_names_of_a_copy_become_links(tmp_path: Path, folders: Folders) -> None:
    kept = put(tmp_path / "a" / "f", b"x")
    one = put(tmp_path / "b" / "f", b"x")
    two = tmp_path / "c" / "f"
    two.parent.mkdir()
    two.hardlink_to(one)

    assert replace(folders, seen(kept), seen(one, two)) == 2

    assert inode(one) == inode(two) == inode(kept)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["f"] * 3


@pytest.mark.parametrize("who", ["kept", "copy"])
@pytest.mark.parametrize("change", ["write", "replace", "chmod"])
def test_what_changed_since_the_look_is_left(
    tmp_path: Path, folders: Folders, who: str, change: str
) -> None:
    paths = {"kept": put(tmp_path / "a" / "f", b"x"), "copy": put(tmp_path / "b" / "f", b"x")}
    kept, copy = seen(paths["kept"]), seen(paths["copy"])
    if change == "write":
        paths[who].write_bytes(b"yy")
    elif change == "replace":
        put(tmp_path / "new", b"x").rename(paths[who])
    else:
        paths[who].chmod(0o600)

    with pytest.raises(Changed):
        replace(folders, kept, copy)

    assert inode(paths["kept"]) != inode(paths["copy"])
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["f", "f"]


def test_a_name_that_became_a_link_elsewhere_is_not_followed(
    tmp_path: Path, folders: Folders
) -> None:
    kept, mine = put(tmp_path / "a" / "f", b"x"), put(tmp_path / "b" / "f", b"x")
    outside = put(tmp_path / "outside", b"x")
    seen_kept, seen_mine = seen(kept), seen(mine)
    kept.unlink()
    kept.symlink_to(outside)

    with pytest.raises(Changed):
        replace(folders, seen_kept, seen_mine)

    assert mine.read_bytes() == b"x"
    assert outside.stat().st_nlink == 1


def test_a_taken_number_is_skipped(tmp_path: Path, folders: Folders) -> None:
    kept, mine = put(tmp_path / "a" / "f", b"x"), put(tmp_path / "b" / "f", b"x")
    number = int(aside_name().rpartition("-")[2].partition(".")[0], 16)
    taken = put(tmp_path / "b" / f".envforge-{os.getpid():x}-{number + 1:x}.incomplete", b"?")

    replace(folders, seen(kept), seen(mine))

    assert taken.read_bytes() == b"?"
    assert inode(mine) == inode(kept)


def test_what_dead_processes_left_is_cleared(tmp_path: Path, folders: Folders) -> None:
    folder = Folder.seen(str(tmp_path), tmp_path.stat())
    dead = put(tmp_path / f".envforge-{2**22 + 5:x}-0.incomplete", b"x")
    beyond = put(tmp_path / f".envforge-{2**70:x}-0.incomplete", b"x")
    ours = put(tmp_path / f".envforge-{os.getpid():x}-0.incomplete", b"x")
    parents = put(tmp_path / f".envforge-{os.getppid():x}-0.incomplete", b"x")
    other = put(tmp_path / ".something", b"x")
    every = [(folder, path.name) for path in (dead, beyond, ours, parents, other)]

    assert clear_leftovers(folders, [*every, (folder, ".envforge-1f-9.incomplete")]) >= 2

    assert not dead.exists()
    assert not beyond.exists()
    assert parents.exists()
    assert other.exists()


def test_names_on_their_way_are_known() -> None:
    assert LEFTOVER.fullmatch(aside_name())
    assert aside_name() != aside_name()


def test_a_folder_is_entered_once_and_only_so_many_stay_open(
    tmp_path: Path, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envforge.adapters.store.dedupe.folders._MOST", 3)
    made = []
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        found = (tmp_path / str(number)).stat()
        made.append(Folder.seen(str(tmp_path / str(number)), found))
    assert folders.enter(made[0]) == folders.enter(made[0])

    for folder in made:
        os.fstat(folders.enter(folder))

    assert len(folders._open) <= 3
    folders.close()
    assert folders._open == {}


def test_another_file_is_not_opened_in_its_place(tmp_path: Path, folders: Folders) -> None:
    path = put(tmp_path / "f", b"x")
    copy = seen(path)
    path.write_bytes(b"other")

    with pytest.raises(Changed):
        folders.open(copy)

    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Changed):  # and does not wait for who writes
        folders.open(copy)
