"""Taking the place of a file at which somebody may be at work."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.hub_caches import inode, put

from envforge.adapters.store.dedupe import exchanging
from envforge.adapters.store.dedupe.exchanging import take_place
from envforge.adapters.store.dedupe.folders import Changed, Folders
from envforge.adapters.store.dedupe.replacing import replace
from envforge.cache.dedupe_plan import Copy, Folder


@pytest.fixture
def where(tmp_path: Path) -> Iterator[int]:
    """A folder with `name`, which is to become what `aside` is."""
    put(tmp_path / "name", b"old")
    put(tmp_path / "aside", b"kept")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def files(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_it_becomes_the_other(where: int, tmp_path: Path) -> None:
    take_place(where, "aside", "name", (tmp_path / "name").stat())

    assert files(tmp_path) == {"name": b"kept"}


def test_what_came_after_the_last_look_is_not_lost(where: int, tmp_path: Path) -> None:
    """A training program renames its new checkpoint into place between our look and rename(2)."""
    looked_at = (tmp_path / "name").stat()
    put(tmp_path / "new", b"new").rename(tmp_path / "name")

    with pytest.raises(Changed):
        take_place(where, "aside", "name", looked_at)

    assert files(tmp_path) == {"name": b"new", "aside": b"kept"}


@pytest.mark.parametrize("how", ["descriptor", "mapping"])
def test_what_is_being_written_stays(where: int, tmp_path: Path, how: str) -> None:
    """What is written after its name has gone would be lost."""
    path = tmp_path / "name"
    stream = path.open("r+b")
    memory = mmap.mmap(stream.fileno(), 0) if how == "mapping" else None
    if memory:
        stream.close()

    with pytest.raises(OSError, match="open for writing") as caught:
        take_place(where, "aside", "name", path.stat())

    assert caught.value.errno == errno.ETXTBSY
    assert files(tmp_path) == {"name": b"old", "aside": b"kept"}
    if memory:
        memory.close()
    stream.close()
    take_place(where, "aside", "name", path.stat())
    assert files(tmp_path) == {"name": b"kept"}


def test_who_only_reads_is_no_hindrance(where: int, tmp_path: Path) -> None:
    with (tmp_path / "name").open("rb") as stream:
        take_place(where, "aside", "name", (tmp_path / "name").stat())
        assert stream.read() == b"old"


def test_a_name_that_goes_meanwhile_gets_its_file_back(
    where: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = (tmp_path / "name").stat()
    put(tmp_path / "new", b"new").rename(tmp_path / "name")

    def same(*_: object) -> bool:
        (tmp_path / "name").unlink()
        return False

    monkeypatch.setattr(exchanging, "is_same", same)
    with pytest.raises(Changed):
        take_place(where, "aside", "name", looked_at)

    assert files(tmp_path)["name"] == b"new"


class Libc:
    """One whose kernel says this."""

    def __init__(self, number: int) -> None:
        self.number = number

    def renameat2(self, *_: Any) -> int:
        ctypes.set_errno(self.number)
        return -1


def test_filesystems_that_cannot_exchange(
    where: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanging, "_libc", lambda: Libc(errno.EACCES))
    with pytest.raises(PermissionError):
        take_place(where, "aside", "name", (tmp_path / "name").stat())
    monkeypatch.setattr(exchanging, "_libc", lambda: Libc(errno.EINVAL))
    take_place(where, "aside", "name", (tmp_path / "name").stat())

    assert files(tmp_path) == {"name": b"kept"}


def test_a_file_that_people_edit_is_replaced_so(tmp_path: Path) -> None:
    kept, mine = put(tmp_path / "a/f", b"x"), put(tmp_path / "b/f", b"x")
    seen = [
        Copy(
            path.stat(),
            [(Folder.seen(str(path.parent), path.parent.stat()), path.name)],
            plain=True,
        )
        for path in (kept, mine)
    ]

    with mine.open("r+b"), pytest.raises(OSError, match="open for writing"):
        replace(Folders(), *seen)
    assert inode(mine) != inode(kept)
    assert replace(Folders(), *seen) == 1

    assert inode(mine) == inode(kept)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["f", "f"]
