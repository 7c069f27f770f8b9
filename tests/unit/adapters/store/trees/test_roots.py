from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.viewing import US

from envforge.adapters.store.trees.folders import Owner
from envforge.adapters.store.trees.roots import nearest_owner, open_root
from envforge.errors import FileNotUsable, ViewRefused

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can work for others")
ALICE = Owner(uid=64101, gid=64101)


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_root(tmp_path / "a/b", US):
        pass
    with open_root(tmp_path / "a/b", US, make=True) as folder:
        assert folder.names() == []
    assert (tmp_path / "a/b").is_dir()


def test_our_own_links_are_followed(tmp_path: Path) -> None:
    """`~/.cache/huggingface/hub` often is one, to a larger disk."""
    (tmp_path / "disk/hub").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/absolute").symlink_to(tmp_path / "disk")
    (tmp_path / "home/relative").symlink_to("../disk")
    for name in ("absolute", "relative"):
        with open_root(tmp_path / "home" / name / "hub", US) as folder:
            folder.write(name, b"x", aside=folder)
    assert sorted(p.name for p in (tmp_path / "disk/hub").iterdir()) == ["absolute", "relative"]


def test_circles_and_files_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "f").write_text("x")
    with pytest.raises(ViewRefused, match="circles"), open_root(tmp_path / "a", US):
        pass
    with (
        pytest.raises(ViewRefused, match="`f` on the way is no folder"),
        open_root(tmp_path / "f/x", US, make=True),
    ):
        pass


def test_what_cannot_be_written_has_a_remedy() -> None:
    with pytest.raises(FileNotUsable) as caught, open_root(Path("/proc/x/y"), US, make=True):
        pass
    assert "/proc/x/y" in str(caught.value)


@ROOT_ONLY
def test_links_of_others_are_not_followed_for_them(tmp_path: Path) -> None:
    """Else root would write where a user's link points."""
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, ALICE.uid, ALICE.gid)
    (home / "cache").symlink_to("/etc")
    os.lchown(home / "cache", ALICE.uid, ALICE.gid)
    for owner in (ALICE, US):
        with (
            pytest.raises(ViewRefused, match="symbolic link of user 64101") as caught,
            open_root(home / "cache/x", owner, make=True),
        ):
            pass
        assert caught.value.hint == "name the folder that it points to"
    assert not Path("/etc/x").exists()


@ROOT_ONLY
def test_new_folders_go_to_whoever_they_are_for(tmp_path: Path) -> None:
    """Ours stay ours, and can be passed through whatever our umask is."""
    old = os.umask(0o077)
    try:
        with (
            open_root(tmp_path / "env/alice/name", ALICE, make=True) as root,
            root.descend("x/y", make=True),
        ):
            root.write("f", b"1", aside=root)
    finally:
        os.umask(old)
    for path, owner in {"env": 0, "env/alice": 0, "env/alice/name": 64101}.items():
        assert (tmp_path / path).stat().st_uid == owner
    above = tmp_path.stat().st_mode & 0o755
    assert (tmp_path / "env/alice").stat().st_mode & 0o777 == above
    for path in ("x", "x/y", "f"):
        found = (tmp_path / "env/alice/name" / path).stat()
        assert (found.st_uid, found.st_gid) == (64101, 64101)


@ROOT_ONLY
def test_the_group_of_a_shared_folder_stays(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, -1, 64200)
    shared.chmod(0o2775)

    with (
        open_root(shared / "alice", ALICE, make=True),
        open_root(shared / "alice/x", ALICE, make=True),
    ):
        pass

    for name in ("alice", "alice/x"):
        found = (shared / name).stat()
        assert (found.st_uid, found.st_gid) == (64101, 64200)


@ROOT_ONLY
def test_a_folder_that_was_there_is_not_given_away(tmp_path: Path) -> None:
    """Else a user could move one of ours into place, and be given it."""
    (tmp_path / "top/blobs").mkdir(parents=True)
    with open_root(tmp_path / "top", ALICE, make=True) as root, root.enter("blobs", make=True):
        pass
    assert (tmp_path / "top").stat().st_uid == 0
    assert (tmp_path / "top/blobs").stat().st_uid == 0


def test_who_owns_the_nearest_folder(tmp_path: Path) -> None:
    assert nearest_owner(tmp_path / "a/b/c").uid == os.geteuid()
    assert nearest_owner(Path("/none/at/all")).uid == 0
    (tmp_path / "f").write_text("x")
    assert nearest_owner(tmp_path / "f/x").uid == os.geteuid()
