"""ELF files, built byte by byte: what is read of them, and when a search path may change."""

from __future__ import annotations

import struct

import pytest

from envforge.adapters.linking.elf import NotElf, RunpathFixed, is_elf, read_dynamic, with_runpath

BASE = 0x10000


def elf(
    *,
    runpath: str | None = "/opt/py/lib",
    tag: int = 29,
    shared_tail: bool = False,
    versions: tuple[str, ...] = ("GLIBC_2.17", "GLIBC_2.34", "GCC_3.0"),
) -> bytes:
    """A small file with the tables a linker writes; `shared_tail` lets a symbol end the path."""
    strings = bytearray(b"\0")
    at: dict[str, int] = {}
    for text in ("libc.so.6", "libm.so.6", "me.so", "main", *versions, runpath or ""):
        at[text] = len(strings)
        strings += text.encode() + b"\0"
    header_end = 64 + 2 * 56
    symbol = at[runpath or ""] + 8 if shared_tail else at["main"]
    symbols = struct.pack("<IBBHQQ", symbol, 0, 0, 0, 0, 0)
    needs = struct.pack("<HHIII", 1, len(versions), at["libc.so.6"], 16, 0)
    needs += b"".join(struct.pack("<IHHII", 0, 0, 0, at[text], 16) for text in versions)
    strings_at = header_end
    symbols_at = strings_at + len(strings)
    needs_at = symbols_at + len(symbols)
    dynamic_at = needs_at + len(needs)
    entries = [(1, at["libc.so.6"]), (1, at["libm.so.6"]), (14, at["me.so"])]
    entries += [(5, BASE + strings_at), (10, len(strings))]
    entries += [(0x6FFFFFFE, BASE + needs_at), (0x6FFFFFFF, 1)]
    entries += [(tag, at[runpath])] if runpath is not None else []
    dynamic = b"".join(struct.pack("<qQ", *entry) for entry in [*entries, (0, 0)])
    sections_at = dynamic_at + len(dynamic)
    section = struct.pack("<IIQQQQIIQQ", 0, 11, 0, 0, symbols_at, len(symbols), 0, 0, 8, 24)
    size = sections_at
    segments = struct.pack("<IIQQQQQQ", 1, 4, 0, BASE, 0, size, size, 8)
    segments += struct.pack("<IIQQQQQQ", 2, 4, dynamic_at, 0, 0, len(dynamic), 0, 8)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(b"\x7fELF\x02\x01\x01" + bytes(9), 3, 62, 1, 0, 64, sections_at, 0, 64, 56, 2, 64, 1, 0),
    )
    return header + segments + bytes(strings) + symbols + needs + dynamic + section


@pytest.mark.parametrize("tag", [15, 29])
def test_the_dynamic_section_is_read(tag: int) -> None:
    """DT_RUNPATH and the older DT_RPATH alike."""
    found = read_dynamic(elf(tag=tag))

    assert found.needed == ("libc.so.6", "libm.so.6")
    assert found.runpath == "/opt/py/lib"
    assert found.glibc == (2, 34)


def test_a_file_without_a_search_path_has_none() -> None:
    assert read_dynamic(elf(runpath=None)).runpath is None
    with pytest.raises(RunpathFixed, match="no search path"):
        with_runpath(elf(runpath=None), "$ORIGIN")


def test_a_shorter_path_takes_the_place() -> None:
    """Same size, and nothing else changes."""
    before = elf()
    after = with_runpath(before, "$ORIGIN")

    assert read_dynamic(after).runpath == "$ORIGIN"
    assert len(after) == len(before)
    start = read_dynamic(before).runpath_offset
    assert after[:start] == before[:start]
    assert after[start + 11 :] == before[start + 11 :]


def test_a_longer_path_is_refused() -> None:
    with pytest.raises(RunpathFixed, match="longer"):
        with_runpath(elf(), "$ORIGIN/../lib")


def test_a_path_that_shares_bytes_is_left_alone() -> None:
    """Linkers merge strings that end alike: a symbol named `lib` may live in the path."""
    with pytest.raises(RunpathFixed, match="shares"):
        with_runpath(elf(shared_tail=True), "$ORIGIN")


def test_no_version_of_the_c_library_is_none() -> None:
    assert read_dynamic(elf(versions=("GCC_3.0",))).glibc is None


@pytest.mark.parametrize(
    "data", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(58), elf()[:100], elf()[:-70]]
)
def test_other_and_damaged_files_are_refused(data: bytes) -> None:
    with pytest.raises(NotElf):
        read_dynamic(data)


def test_a_static_file_needs_nothing() -> None:
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(b"\x7fELF\x02\x01\x01" + bytes(9), 2, 62, 1, 0, 64, 0, 0, 64, 56, 0, 64, 0, 0),
    )

    assert is_elf(header)
    assert read_dynamic(header).needed == ()


def test_an_address_in_no_segment_is_damage() -> None:
    data = bytearray(elf())
    struct.pack_into("<Q", data, 64 + 16, 0xDEAD0000)  # the loaded segment, moved away

    with pytest.raises(NotElf, match="no segment"):
        read_dynamic(bytes(data))
