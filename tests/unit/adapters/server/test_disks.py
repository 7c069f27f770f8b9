"""Disks, umask and clock of this machine, and of files that tell of another."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.installing import make_settings

from envforge.adapters.server import disks


def test_every_spot_is_there_with_its_disk(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, environment={"TMPDIR": str(tmp_path)})

    found = {item.name: item.place for item in disks.spots(settings)}

    assert found["environments"].path == str(settings.prefixes)
    assert found["package cache"].path == str(settings.package_cache)
    assert found["temporary files"].path == str(tmp_path)
    assert all(item.all_bytes > 0 for item in found.values())


@pytest.mark.parametrize(
    ("text", "umask"),
    [
        ("# UMASK 077\nUMASK\t\t022\n", 0o022),
        ("UMASK 0027 # ours\n", 0o027),
        ("UMASKS 000\n", None),
        ("", None),
    ],
)
def test_the_umask_of_logins(tmp_path: Path, text: str, umask: int | None) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/login.defs").write_text(text)

    assert disks.login_umask(tmp_path) == umask
    assert disks.login_umask(tmp_path / "none") is None


def test_the_kernel_tells_of_its_clock() -> None:
    assert disks.clock_kept() in {True, False}


class _Library:
    """A C library whose adjtimex answers this."""

    def __init__(self, state: int, status: int) -> None:
        self._state, self._status = state, status

    def adjtimex(self, answer: bytearray) -> int:
        answer[40:44] = self._status.to_bytes(4, "little")  # type: ignore[assignment]
        return self._state


@pytest.mark.parametrize(
    ("state", "status", "kept"), [(0, 0x2001, True), (5, 0x0040, False), (-1, 0, None)]
)
def test_the_kernels_status_is_read(
    monkeypatch: pytest.MonkeyPatch, state: int, status: int, kept: bool | None
) -> None:
    """STA_PLL and STA_NANO, STA_UNSYNC, and a call that is not allowed."""
    monkeypatch.setattr(disks.ctypes, "CDLL", lambda *_, **__: _Library(state, status))

    assert disks.clock_kept() is kept


def test_a_system_without_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks.ctypes, "CDLL", lambda *_, **__: object())

    assert disks.clock_kept() is None
