"""Which C library a machine has, by its file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from envforge.adapters.machine.c_library import glibc_version

LIBC = b"\x7fELF" + bytes(60) + b"GLIBC_2.2.5\0GLIBC_2.17\0GLIBC_2.31\0GLIBC_2.9\0GLIBC_PRIVATE\0"


def put(root: Path, place: str, data: bytes = LIBC) -> Path:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "place",
    [
        "lib/x86_64-linux-gnu/libc.so.6",
        "usr/lib64/libc.so.6",
        "usr/lib/aarch64-linux-gnu/libc.so.6",
    ],
)
def test_the_newest_symbol_version_of_another_root(place: str, tmp_path: Path) -> None:
    put(tmp_path, place)
    assert glibc_version({}, tmp_path) == "2.31"


def test_links_lead_within_that_root(tmp_path: Path) -> None:
    """Older Debian links libc.so.6 to libc-2.31.so; an absolute link begins at the root."""
    put(tmp_path, "usr/lib/x86_64-linux-gnu/libc-2.31.so")
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64/libc.so.6").symlink_to("/usr/lib/x86_64-linux-gnu/here.so")
    (tmp_path / "usr/lib/x86_64-linux-gnu/here.so").symlink_to("./libc-2.31.so")
    assert glibc_version({}, tmp_path) == "2.31"


def test_no_glibc_that_can_be_read(tmp_path: Path) -> None:
    assert glibc_version({}, tmp_path) is None
    put(tmp_path, "lib64/libc.so.6", b"no library")
    (tmp_path / "lib").mkdir()
    os.mkfifo(tmp_path / "lib/libc.so.6")
    (tmp_path / "usr/lib64").mkdir(parents=True)
    (tmp_path / "usr/lib64/libc.so.6").symlink_to("libc.so.6")  # a loop
    assert glibc_version({}, tmp_path) is None


def test_condas_own_override_counts_first(tmp_path: Path) -> None:
    put(tmp_path, "lib64/libc.so.6")
    assert glibc_version({"CONDA_OVERRIDE_GLIBC": "2.17"}, tmp_path) == "2.17"
    assert glibc_version({"CONDA_OVERRIDE_GLIBC": ""}, tmp_path) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_this_machine_tells_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda _: "glibc 2.36")
    assert glibc_version({}) == "2.36"

    def musl(_: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", musl)
    assert glibc_version({}) is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert glibc_version({}) is None
