"""ACLs as the kernel keeps them."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from envforge.adapters.store import acl


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    try:
        put(tmp_path, "access", (1, 7, -1), (4, 5, -1), (32, 5, -1))
    except OSError as error:
        pytest.skip(f"no ACLs here: {error}")
    return tmp_path


def put(path: Path, kind: str, *entries: tuple[int, int, int]) -> None:
    packed = (struct.pack("<HHI", tag, mode, owner % 2**32) for tag, mode, owner in entries)
    os.setxattr(path, f"system.posix_acl_{kind}", struct.pack("<I", 2) + b"".join(packed))


def test_a_folder_without_one(folder: Path) -> None:
    assert acl.read(folder, default=True) == ()
    assert acl.writers(folder) == ()


def test_who_may_write_what_is_made_there(folder: Path) -> None:
    put(
        folder,
        "default",
        *((1, 7, -1), (2, 7, 4001), (2, 5, 4002), (4, 5, -1), (8, 6, 100), (16, 7, -1)),
        (32, 5, -1),
    )

    assert acl.writers(folder) == ("user 4001", "group 100")


def test_the_mask_takes_writing_away(folder: Path) -> None:
    put(folder, "default", (1, 7, -1), (2, 7, 4001), (4, 7, -1), (16, 5, -1), (32, 7, -1))

    assert acl.writers(folder) == ("others",)


def test_a_default_acl_can_be_dropped(folder: Path) -> None:
    put(folder, "default", (1, 7, -1), (4, 7, -1), (32, 5, -1))
    assert acl.writers(folder) == ("the group",)

    acl.drop_default(folder)

    assert acl.read(folder, default=True) == ()


def test_one_more_user_is_let_in(folder: Path) -> None:
    folder.chmod(0o750)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        acl.let_in(descriptor, 4001)
    finally:
        os.close(descriptor)

    entries = {
        (entry.tag, entry.id): entry.permissions for entry in acl.read(folder, default=False)
    }
    assert entries[2, 4001] == 7
    assert entries[32, 2**32 - 1] == 0


def test_what_is_not_there_cannot_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        acl.read(tmp_path / "missing", default=True)
