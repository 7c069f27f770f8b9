from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.viewing import US

from envforge.adapters.store.trees.folders import Folder
from envforge.adapters.store.trees.roots import open_root
from envforge.errors import ViewRefused


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Folder]:
    with open_root(tmp_path / "top", US, make=True) as folder:
        yield folder


def test_folders_are_made_and_entered(top: Folder) -> None:
    with pytest.raises(FileNotFoundError), top.enter("a"):
        pass
    with top.descend("a/b/c", make=True) as below:
        assert below.path == top.path / "a" / "b" / "c"
        assert below.names() == []
    with top.descend("") as same:
        assert same is top
    assert (top.path / "a/b/c").is_dir()


def test_no_link_is_followed(top: Folder, tmp_path: Path) -> None:
    """Also not one to a folder that is ours: whoever made it could have it point elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (top.path / "a").symlink_to(elsewhere)
    (top.path / "file").write_text("x")
    for make in (False, True):
        with (
            pytest.raises(ViewRefused, match="a symbolic link is where") as caught,
            top.enter("a", make=make),
        ):
            pass
        assert f"mv {top.path}/a {top.path}/a.old" in (caught.value.hint or "")
        with (
            pytest.raises(ViewRefused, match="something else is where"),
            top.enter("file", make=make),
        ):
            pass
    assert list(elsewhere.iterdir()) == []


def test_files_are_written_whole_or_not(top: Folder) -> None:
    assert top.write("f", b"one", aside=top)
    assert not top.write("f", b"one", aside=top)
    assert top.write("f", b"two", aside=top, sync=True)
    assert top.names() == ["f"]
    assert (top.path / "f").read_bytes() == b"two"


def test_writing_replaces_a_link_and_leaves_what_it_points_to(top: Folder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"mine")
    (top.path / "f").symlink_to(other)

    assert top.read("f") is None
    assert top.write("f", b"ours", aside=top)

    assert other.read_bytes() == b"mine"
    assert (top.path / "f").read_bytes() == b"ours"
    assert not (top.path / "f").is_symlink()


def test_reading_waits_for_nothing(top: Folder) -> None:
    os.mkfifo(top.path / "pipe")
    (top.path / "d").mkdir()

    assert top.read("pipe") is None
    assert top.read("d") is None
    assert top.read("absent") is None


def test_a_folder_is_not_replaced(top: Folder) -> None:
    (top.path / "f").mkdir()
    for change in (
        lambda: top.write("f", b"x", aside=top),
        lambda: top.symlink("f", "x", aside=top),
    ):
        with pytest.raises(ViewRefused):
            change()
    assert top.names() == ["f"]


def test_links_are_made_and_mended(top: Folder) -> None:
    assert top.symlink("l", "../x", aside=top)
    assert not top.symlink("l", "../x", aside=top)
    assert top.symlink("l", "../y", aside=top)
    (top.path / "f").write_text("a client put the file itself here")
    assert top.symlink("f", "../y", aside=top)

    assert top.target("l") == top.target("f") == "../y"
    assert top.target("absent") is None
    assert top.names() == ["f", "l"]


def test_a_second_name_of_the_same_file_does_not_stay_aside(top: Folder) -> None:
    """rename(2) of two names of one inode does nothing, and says that all is well."""
    (top.path / "a").write_text("x")
    os.link(top.path / "a", top.path / "b")

    top.take("a", "b", aside=top)

    assert top.names() == ["b"]


def test_removing(top: Folder) -> None:
    (top.path / "f").write_text("x")
    (top.path / "d").mkdir()
    (top.path / "full").mkdir()
    (top.path / "full/x").write_text("x")

    assert top.remove("f")
    assert not top.remove("f")
    assert top.remove_if_empty("d")
    assert not top.remove_if_empty("d")
    assert not top.remove_if_empty("full")
    assert top.names() == ["full"]
    (top.path / "g").write_text("x")
    assert not top.remove_if_empty("g")


def test_what_was_not_finished_goes_and_nothing_else(top: Folder) -> None:
    with top.new_file() as (name, _):
        assert stat.S_ISREG((top.path / name).stat().st_mode)
        (top.path / f"{name}.bak").write_text("x")
        (top.path / ".envforge-mine.tmp").write_text("x")
        os.link(top.path / name, top.path / ".envforge-0123456789abcdef.tmp")
        top.remove_asides()

    assert set(top.names()) == {".envforge-mine.tmp", f"{name}.bak"}
