from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from envforge.adapters import quota as module
from envforge.adapters.quota import _Quota, quota, remaining


def test_the_structure_is_the_kernels() -> None:
    """linux/quota.h, `struct if_dqblk`: eight 64-bit fields and a 32-bit one, padded."""
    assert ctypes.sizeof(_Quota) == 72


@pytest.mark.parametrize(
    ("facts", "left"),
    [
        ({}, (None, None)),
        ({"block_hard": 10, "bytes_used": 1024}, (9 * 1024, None)),
        ({"block_hard": 10, "block_soft": 5, "bytes_used": 0}, (5 * 1024, None)),
        ({"block_soft": 1, "bytes_used": 9999}, (0, None)),
        ({"files_hard": 100, "files_soft": 90, "files_used": 20}, (None, 70)),
        ({"files_hard": 10, "files_used": 20}, (None, 0)),
    ],
)
def test_the_tighter_limit_counts(facts: dict[str, int], left: tuple[object, object]) -> None:
    assert remaining(_Quota(**facts)) == left


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A kernel that lists one block device, and has a quota on it."""
    table = tmp_path / "mountinfo"
    table.write_text(
        "20 1 0:5 / /proc rw - proc proc rw\n"
        "21 1 259:1 / /home rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw\n"
        "22 1 0:44 / /nfs rw - nfs4 server:/home rw\n"
    )
    monkeypatch.setattr(module, "Path", lambda _: table)
    asked: list[bytes] = []

    def quotactl(command: ctypes.c_int, device: bytes, user: int, found: Any) -> int:
        assert command.value & 0xFFFFFFFF == 0x80000700
        assert user == os.getuid()
        asked.append(device)
        found._obj.block_hard = 2
        return 0

    library = SimpleNamespace(quotactl=quotactl)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    return SimpleNamespace(asked=asked, library=library)


def test_the_kernel_is_asked_for_the_block_device(mounted: Any) -> None:
    assert quota(os.makedev(259, 1)) == (2048, None)
    assert mounted.asked == [b"/dev/nvme0n1p1"]


def test_no_quota_and_no_permission_are_no_limit(mounted: Any) -> None:
    mounted.library.quotactl = lambda *_: -1
    assert quota(os.makedev(259, 1)) == (None, None)
    del mounted.library.quotactl
    assert quota(os.makedev(259, 1)) == (None, None)


def test_network_and_unknown_filesystems_are_not_asked(mounted: Any) -> None:
    assert quota(os.makedev(0, 44)) == (None, None)
    assert quota(os.makedev(7, 7)) == (None, None)
    assert mounted.asked == []


def test_where_the_kernel_lists_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "Path", lambda _: tmp_path / "none")
    assert quota(os.makedev(259, 1)) == (None, None)


def test_the_real_call_does_no_harm(tmp_path: Path) -> None:
    for left in quota(tmp_path.stat().st_dev):
        assert left is None or left >= 0
