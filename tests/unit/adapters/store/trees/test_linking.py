"""What stands in for a hardlink; `test_views.py` has the rest."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from fakes.viewing import BERT, WEIGHTS, model, sha256, store_with, view

from envforge.adapters.store.store import Store
from envforge.adapters.store.trees.linking import is_linked, is_our_copy
from envforge.cache import layout


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with(tmp_path / "store", *BERT.values())


def clone(target: int, request: int, source: int) -> None:
    """FICLONE, on filesystems that have none."""
    assert request == 0x40049409
    os.write(target, os.pread(source, 1 << 20, 0))


def test_reflinks_come_before_copies(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Store, "link", refuse)
    monkeypatch.setattr(fcntl, "ioctl", clone)

    result = view(store, tmp_path / "v", model())

    assert result.modes == {"reflink": 3}
    blob = tmp_path / "v/models--org--bert/blobs" / sha256(WEIGHTS)
    assert blob.read_bytes() == WEIGHTS
    again = view(store, tmp_path / "v", model())
    assert (again.placed, again.modes) == (0, {"reflink": 3})


def test_a_store_of_another_user_says_why(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Store, "link", refuse)
    monkeypatch.setattr(Store, "is_ours", False)

    result = view(store, tmp_path / "v", model())

    assert "protected_hardlinks" in result.why_copied


def test_all_inodes_of_a_file_count(store: Store, tmp_path: Path) -> None:
    sha = sha256(WEIGHTS)
    layout.blob(store.root, sha, 1).write_bytes(WEIGHTS)
    found = [layout.blob(store.root, sha, copy).stat() for copy in (0, 1)]

    assert [item.st_ino for _, item in store.inodes(sha)] == [item.st_ino for item in found]
    assert all(is_linked(store, sha, item) for item in found)
    assert not is_linked(store, sha, None)
    assert not is_linked(store, sha, tmp_path.stat())
    assert list(store.inodes("0" * 64)) == []


def test_what_clients_fetch_is_no_copy_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_text("x")
    path.chmod(0o644)
    assert not is_our_copy(path.stat())
    path.chmod(0o444)
    assert is_our_copy(path.stat())
    assert not is_our_copy(tmp_path.stat())
