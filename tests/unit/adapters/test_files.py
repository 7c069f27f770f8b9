"""Writing without ever leaving half a file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from envforge.adapters.files import (
    absolute,
    is_gone,
    open_to_look,
    read_text,
    refuse_unwritable,
    unusable,
    write_text,
)
from envforge.errors import FileNotUsable


def test_text_is_replaced_whole_with_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    old = os.umask(0o027)
    try:
        write_text(path, "one\n")
        write_text(path, "two — ü\n")
    finally:
        os.umask(old)

    assert path.read_bytes() == "two — ü\n".encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert [item.name for item in path.parent.iterdir()] == ["file.txt"]


def test_a_folder_in_the_way_is_named_and_kept(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()

    with pytest.raises(FileNotUsable, match="is a directory"):
        write_text(tmp_path / "x", "text")

    assert [item.name for item in tmp_path.iterdir()] == ["x"]


def test_a_file_that_could_not_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    refuse_unwritable(tmp_path / "new" / "result.json")
    assert list((tmp_path / "new").iterdir()) == []

    (tmp_path / "file").touch()
    for path in (tmp_path / "new", tmp_path / "file" / "result.json"):
        with pytest.raises(FileNotUsable, match=f"`{path}"):
            refuse_unwritable(path)


def test_reading_what_is_not_there_or_not_text(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9")

    with pytest.raises(FileNotUsable, match="no such file"):
        read_text(tmp_path / "none")
    with pytest.raises(FileNotUsable, match="not UTF-8"):
        read_text(tmp_path / "latin")


def test_a_link_to_a_device_has_no_end(tmp_path: Path) -> None:
    """A clone may hold one under any name."""
    (tmp_path / "conda-lock.yml").symlink_to("/dev/zero")

    with pytest.raises(FileNotUsable, match="larger than"):
        read_text(tmp_path / "conda-lock.yml")


def test_all_ends_of_lines_are_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\r\nb\rc\n")
    assert read_text(tmp_path / "file") == "a\nb\nc\n"


def test_remedies_name_what_helps() -> None:
    full = unusable(Path("x"), OSError(errno.ENOSPC, "No space left on device"))

    assert "free some space" in (full.hint or "")
    assert "no space left" in str(full)


def test_gone_is_only_what_nobody_can_doubt(tmp_path: Path) -> None:
    """A loop of links, as a folder that may not be entered, says nothing of what lies behind."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")

    assert is_gone(tmp_path / "missing")
    assert is_gone(tmp_path / "missing" / "below")
    assert is_gone(tmp_path / "file" / "below")
    assert not is_gone(tmp_path / "file")
    assert not is_gone(tmp_path / "loop")
    assert not is_gone(tmp_path / "loop" / "below")


def test_a_path_is_named_as_the_kernel_reads_it(tmp_path: Path) -> None:
    """Before `..` a link is followed, and nowhere else."""
    (tmp_path / "far" / "below").mkdir(parents=True)
    (tmp_path / "far" / "srv").mkdir()
    (tmp_path / "link").symlink_to("far/below")

    assert absolute(tmp_path / "link") == tmp_path / "link"
    assert absolute(tmp_path / "link" / ".." / "srv") == tmp_path.resolve() / "far" / "srv"
    assert absolute(tmp_path / "far" / ".." / "link" / "x") == tmp_path.resolve() / "link" / "x"
    assert absolute(Path("x")) == Path.cwd() / "x"
    assert absolute(Path("~/x")) == Path.home() / "x"


def test_a_look_is_no_use(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    os.utime(path, (1, 2))  # older than its last change: where reads are recorded, one would be

    descriptor = open_to_look(str(path))
    assert os.read(descriptor, 2) == b"x"
    os.close(descriptor)

    assert path.stat().st_atime == 1
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        open_to_look(str(tmp_path / "link"))
