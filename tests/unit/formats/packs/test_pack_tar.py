"""Headers of a pack: one form for each, read by every tar, and nothing else is read by us."""

from __future__ import annotations

import io
import tarfile

import pytest
from fakes.packs import summed

from envforge.formats.packs import pack_tar

LONG = "environments/" + "n" * 84 + "/virtual-packages.yml"


@pytest.mark.parametrize("size", [0, 1, 512, 8**11 - 1, 8**11, 40 * 2**30])
@pytest.mark.parametrize("name", ["index.json", "packages/noarch/_x-1!2.0-h0+1.conda", LONG])
def test_what_is_written_is_read_by_us_and_by_tar(name: str, size: int) -> None:
    block = pack_tar.header(name, size)

    assert len(block) == 512
    assert pack_tar.read_header(block) == (name, size)
    seen = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    assert (seen.name, seen.size, seen.mode, seen.mtime) == (name, size, 0o644, 0)
    assert seen.isreg()


def test_a_whole_one_is_a_tar() -> None:
    data = b"".join(
        pack_tar.header(name, 3) + b"abc" + bytes(pack_tar.padding(3)) for name in ("a", LONG)
    )
    with tarfile.open(fileobj=io.BytesIO(data + pack_tar.END)) as tar:
        assert [(item.name, tar.extractfile(item).read()) for item in tar] == [  # type: ignore[union-attr]
            ("a", b"abc"),
            (LONG, b"abc"),
        ]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "./a",
        "a/.hidden",
        "-rf",
        "a b",
        "a\nb",
        "ü",
        "a\\b",
        "x" * 101,
        "d" * 156 + "/x",
    ],
)
def test_a_name_that_leads_elsewhere_is_none(name: str) -> None:
    assert not pack_tar.is_name(name)
    with pytest.raises(ValueError, match="no name of a member"):
        pack_tar.header(name, 0)


@pytest.mark.parametrize("size", [-1, 2**51])
def test_a_size_beyond_everything_is_none(size: int) -> None:
    with pytest.raises(ValueError, match="no size of a member"):
        pack_tar.header("x", size)


def _with(at: int, data: bytes) -> bytes:
    block = pack_tar.header("x", 5)
    return summed(block[:at] + data + block[at + len(data) :])


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(_with(156, b"2"), id="symlink"),
        pytest.param(_with(156, b"1"), id="hardlink"),
        pytest.param(_with(156, b"3"), id="device"),
        pytest.param(_with(156, b"5"), id="folder"),
        pytest.param(_with(156, b"x"), id="pax"),
        pytest.param(_with(156, b"L"), id="long-name"),
        pytest.param(_with(156, b"S"), id="sparse"),
        pytest.param(_with(100, b"0004755\0"), id="setuid"),
        pytest.param(_with(157, b"/etc/passwd"), id="target"),
        pytest.param(_with(265, b"root"), id="owner"),
        pytest.param(_with(345, b"../.."), id="folder-field"),
        pytest.param(_with(0, b"../x"), id="climbing"),
        pytest.param(_with(124, b"\x80" + b"\xff" * 11), id="huge"),
        pytest.param(_with(124, b"\xff" * 12), id="negative"),
        pytest.param(_with(124, b"00000000009\0"), id="no-octal"),
        pytest.param(_with(124, bytes(12)), id="no-size"),
        pytest.param(_with(0, b"\xc3\xbc"), id="no-ascii"),
        pytest.param(pack_tar.header("x", 5)[:148] + b"000000\0 " + bytes(356), id="sum"),
        pytest.param(b"x" * 512, id="text"),
        pytest.param(b"short", id="short"),
    ],
)
def test_whatever_else_a_tar_can_hold_is_refused(block: bytes) -> None:
    with pytest.raises(ValueError, match="plain file"):
        pack_tar.read_header(block)
