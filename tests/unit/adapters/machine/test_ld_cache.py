"""The loader's cache is read in both formats, and damage is met with calm."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.adapters.machine.ld_cache import read_ld_cache

X86_64, AARCH64, I386 = 0x0303, 0x0A03, 0x0003
Entry = tuple[int, str, str]
ENTRIES: list[Entry] = [
    (X86_64, "libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"),
    (X86_64, "libcuda.so.1", "/lib64/libcuda.so.1"),
    (I386, "libcuda.so.1", "/lib/libcuda.so.1"),
    (AARCH64, "libz.so.1", "/lib64/libz.so.1"),
]
READ = {
    "libcuda.so.1": ("/usr/lib/wsl/lib/libcuda.so.1", "/lib64/libcuda.so.1"),
    "libz.so.1": ("/lib64/libz.so.1",),
}


def strings(entries: list[Entry], start: int) -> tuple[bytes, list[tuple[int, int, int]]]:
    text, rows = b"", []
    for flags, name, path in entries:
        key = start + len(text)
        text += name.encode() + b"\0"
        rows.append((flags, key, start + len(text)))
        text += path.encode() + b"\0"
    return text, rows


def new_format(entries: list[Entry]) -> bytes:
    text, rows = strings(entries, 48 + 24 * len(entries))
    head = b"glibc-ld.so.cache1.1" + struct.pack("<II", len(rows), len(text))
    packed = b"".join(struct.pack("<iIIIQ", *row, 0, 0) for row in rows)
    return head.ljust(48, b"\0") + packed + text


def old_format(entries: list[Entry]) -> bytes:
    text, rows = strings(entries, 0)
    packed = b"".join(struct.pack("<iII", *row) for row in rows)
    return b"ld.so-1.7.0\0" + struct.pack("<I", len(rows)) + packed + text


def test_the_newer_format() -> None:
    """In order, and only for 64-bit programs."""
    assert read_ld_cache(new_format(ENTRIES)) == READ


def test_the_older_format_and_the_newer_behind_it() -> None:
    assert read_ld_cache(old_format(ENTRIES)) == READ
    both = old_format([(X86_64, "liba.so", "/a")])
    assert (
        read_ld_cache(both.ljust(len(both) + -len(both) % 8, b"\0") + new_format(ENTRIES)) == READ
    )


def test_the_machines_own() -> None:
    """As ldconfig prints it."""
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if ldconfig is None or not Path("/etc/ld.so.cache").exists():
        pytest.skip("no glibc loader here")
    printed = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in printed.splitlines() if "=>" in line]
    wanted = {(row[0], row[-1]) for row in lines if "x86-64" in row[1] or "AArch64" in row[1]}

    found = read_ld_cache(Path("/etc/ld.so.cache").read_bytes())

    assert {(name, path) for name, paths in found.items() for path in paths} == wanted


@pytest.mark.parametrize("make", [new_format, old_format])
def test_cut_off_anywhere(make: object) -> None:
    data = make(ENTRIES)  # type: ignore[operator]
    for size in range(len(data)):
        assert set(read_ld_cache(data[:size])) <= {*READ, *(name[:size] for name in READ)}


@given(st.binary(max_size=200))
def test_garbage_behind_the_marks(data: bytes) -> None:
    for start in (b"", b"glibc-ld.so.cache1.1", b"ld.so-1.7.0\0"):
        assert isinstance(read_ld_cache(start + data), dict)
