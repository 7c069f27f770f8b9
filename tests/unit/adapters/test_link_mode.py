from __future__ import annotations

import fcntl
import json
import os
import struct
from pathlib import Path

import pytest

from envforge.adapters.link_mode import link_mode


def record(prefix: Path, *files: tuple[str, str, int]) -> Path:
    """A record with (path, type, size) files."""
    paths = [
        {"_path": path, "path_type": kind, "size_in_bytes": size} for path, kind, size in files
    ]
    meta = prefix / "conda-meta"
    meta.mkdir(exist_ok=True)
    target = meta / f"package{len(list(meta.iterdir()))}.json"
    target.write_text(json.dumps({"paths_data": {"paths": paths}}))
    return target


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("text")
    return path


def test_a_second_name_is_a_hardlink(tmp_path: Path, file: Path) -> None:
    os.link(file, tmp_path / "in-the-cache")
    assert link_mode([record(tmp_path, ("file", "hardlink", 4))]) == "hardlink"


@pytest.mark.usefixtures("file")
def test_a_file_of_its_own_is_a_copy(tmp_path: Path) -> None:
    """Links, empty files and packages without files tell nothing, so the next one is asked."""
    records = [
        record(tmp_path),
        record(tmp_path, ("link", "softlink", 3), ("empty", "hardlink", 0)),
        record(tmp_path, ("file", "hardlink", 4)),
    ]
    assert link_mode(records) == "copy"


def test_nothing_linked_tells_nothing(tmp_path: Path) -> None:
    assert link_mode([]) == "none"
    assert link_mode([record(tmp_path)]) == "none"


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize(("flags", "told"), [(0x2000 | 1, "reflink"), (1, "copy")])
def test_a_shared_extent_is_a_reflink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int, told: str
) -> None:
    """The kernel's answer, as btrfs and XFS give it."""

    def ioctl(_: object, request: int, buffer: bytearray) -> None:
        assert request == 0xC020660B
        assert len(buffer) == 32 + 56
        struct.pack_into("=I", buffer, 20, 1)
        struct.pack_into("=QQQQQII", buffer, 32, 0, 4096, 4096, 0, 0, flags, 0)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    assert link_mode([record(tmp_path, ("file", "hardlink", 4))]) == told


@pytest.mark.usefixtures("file")
def test_a_filesystem_without_that_call_has_no_reflinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ioctl(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    assert link_mode([record(tmp_path, ("file", "hardlink", 4))]) == "copy"
