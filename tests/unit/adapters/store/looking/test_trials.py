"""Trying out a disk leaves nothing behind, and tells apart what fails."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from envforge.adapters.store.looking import trials


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    store, views = tmp_path / "store", tmp_path / "views"
    store.mkdir()
    views.mkdir()
    return store, views


def test_a_local_disk(folders: tuple[Path, Path]) -> None:
    found = trials.try_out(*folders, speed=True, sample=None)

    assert (found.hardlink, found.to_views, found.flock) == ("", "", "")
    assert found.owner_kept is True
    assert found.mode_kept is True
    assert found.reflink is not None
    assert found.clock_ahead is not None
    assert abs(found.clock_ahead) < 5
    assert found.read_rate is not None
    assert found.read_rate > 0
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


def test_the_speed_is_measured_only_when_asked(folders: tuple[Path, Path]) -> None:
    assert trials.try_out(*folders, speed=False, sample=None).read_rate is None


def test_a_file_that_is_there_is_read_instead(folders: tuple[Path, Path], tmp_path: Path) -> None:
    sample = tmp_path / "sample"
    sample.write_bytes(b"x" * 100_000)

    assert (trials.try_out(*folders, speed=True, sample=sample).read_rate or 0) > 0


@pytest.mark.parametrize("content", [None, b""])
def test_a_sample_that_tells_nothing(
    folders: tuple[Path, Path], tmp_path: Path, content: bytes | None
) -> None:
    sample = tmp_path / "sample"
    if content is not None:
        sample.write_bytes(content)

    assert trials.try_out(*folders, speed=True, sample=sample).read_rate is None


def test_where_nothing_can_be_written_nothing_was_tried(tmp_path: Path) -> None:
    found = trials.try_out(tmp_path / "missing", tmp_path, speed=False, sample=None)

    assert found == trials.Trials()


def test_views_that_cannot_be_written(folders: tuple[Path, Path], tmp_path: Path) -> None:
    found = trials.try_out(folders[0], tmp_path / "missing", speed=False, sample=None)

    assert found.hardlink == ""
    assert found.to_views is None


def test_a_disk_without_hardlinks(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(os, "link", refuse)

    assert trials.try_out(*folders, speed=False, sample=None).hardlink == "EPERM"


@pytest.mark.parametrize(("says", "expected"), [(errno.ENOLCK, "ENOLCK"), (None, "nothing")])
def test_locks_that_do_not_lock(
    folders: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    says: int | None,
    expected: str,
) -> None:
    def flock(*_: object) -> None:
        if says:
            raise OSError(says, "no")

    monkeypatch.setattr(fcntl, "flock", flock)

    assert trials.try_out(*folders, speed=False, sample=None).flock == expected


def test_a_disk_without_room_is_not_measured(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        f_bavail = 1
        f_frsize = 4096

    monkeypatch.setattr(os, "statvfs", lambda _: Full)

    assert trials.try_out(*folders, speed=True, sample=None).read_rate is None
