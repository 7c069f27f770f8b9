"""Compiled code: shared whole, packed byte for byte, unpacked only if it is what was packed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from envforge.adapters.activation import compiled
from envforge.errors import BrokenPack, FileNotUsable

PURPOSE = compiled.PackedFor(environment="e", machine="x86-64-v3", lock="abc")
FILES = {
    "inductor/ab/cabc.py": b"code",
    "inductor/ab/cabc.so": b"\x7fELF" + bytes(600),
    "inductor/fxgraph/ab/key/entry": b"",
    "triton/HASH/kernel.json": b"{}",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    for name, data in {
        **FILES,
        "inductor/locks/cabc.lock": b"",
        "inductor/ab/.1.tmp": b"half",
        "cuda/index": b"x",
    }.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return place


def tree(place: Path) -> dict[str, bytes]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and path.name != compiled.STAMP
    }


def test_only_what_is_finished_is_shared_and_only_once(place: Path, tmp_path: Path) -> None:
    seed = tmp_path / "prefix" / "seed"
    before = os.umask(0o077)
    try:
        assert compiled.share(place, seed) == (4, sum(map(len, FILES.values())))
    finally:
        os.umask(before)
    stamp = (seed / compiled.STAMP).read_text()

    assert tree(seed) == FILES
    assert {path.stat().st_mode & 0o777 for path in seed.rglob("c*.py")} == {0o444}
    assert (seed / "inductor" / "ab").stat().st_mode & 0o777 == 0o755
    assert compiled.share(place, seed) == (0, 0)
    assert (seed / compiled.STAMP).read_text() == stamp
    (place / "triton" / "HASH" / "more.ptx").write_bytes(b"1")
    assert compiled.share(place, seed) == (1, 1)
    assert (seed / compiled.STAMP).read_text() != stamp


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("name", [".", "triton"])
def test_code_of_somebody_else_is_not_shared(place: Path, tmp_path: Path, name: str) -> None:
    """Where users share ENVFORGE_CACHE, anybody may have been first."""
    os.chown(place / name, 64210, 64210)
    with pytest.raises(FileNotUsable, match="belongs to somebody else"):
        compiled.share(place, tmp_path / "seed")
    assert not (tmp_path / "seed").exists()


def test_links_to_what_is_shared_are_not_shared_again(place: Path, tmp_path: Path) -> None:
    (place / "triton" / "link").symlink_to(place / "triton" / "HASH" / "kernel.json")
    compiled.share(place, tmp_path / "seed")

    assert not os.path.lexists(tmp_path / "seed" / "triton" / "link")


def test_a_pack_is_the_same_bytes_and_comes_back_whole(place: Path, tmp_path: Path) -> None:
    one, two, there = tmp_path / "1.tar", tmp_path / "2.tar", tmp_path / "there"
    first = compiled.pack(place, one, PURPOSE)
    os.utime(place / "triton" / "HASH" / "kernel.json", (0, 0))

    assert compiled.pack(place, two, PURPOSE) == first
    assert one.read_bytes() == two.read_bytes()
    assert compiled.unpack(one, there, PURPOSE) == (4, sum(map(len, FILES.values())))
    assert tree(there) == FILES
    assert compiled.unpack(one, there, PURPOSE) == (0, 0)


def test_what_is_unpacked_is_for_nobody_else(place: Path, tmp_path: Path) -> None:
    """Programs run it, and groups share an umask of 002; nothing was made there before."""
    compiled.pack(place, tmp_path / "a.tar", PURPOSE)
    before = os.umask(0o002)
    try:
        compiled.unpack(tmp_path / "a.tar", tmp_path / "new" / "machine", PURPOSE)
    finally:
        os.umask(before)
    made = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert len(made) > 3
    assert not [path for path in made if path.stat().st_mode & 0o077]


@pytest.mark.parametrize(
    ("field", "said"),
    [("environment", "for the environment `e`"), ("machine", "x86-64-v3"), ("lock", "packages")],
)
def test_a_pack_for_something_else_is_refused(
    place: Path, tmp_path: Path, field: str, said: str
) -> None:
    compiled.pack(place, tmp_path / "p", PURPOSE)
    with pytest.raises(BrokenPack, match=said):
        compiled.unpack(tmp_path / "p", tmp_path / "there", replace(PURPOSE, **{field: "other"}))
    assert not (tmp_path / "there").exists()


def test_no_changed_byte_is_taken(place: Path, tmp_path: Path) -> None:
    """Anywhere in it; and nothing is written before all of it was read."""
    pack, there = tmp_path / "p", tmp_path / "there"
    compiled.pack(place, pack, PURPOSE)
    data = pack.read_bytes()
    for at in range(0, len(data), 97):
        pack.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(BrokenPack):
            compiled.unpack(pack, there, PURPOSE)
    for end in (0, 100, 512, 700, len(data) - 512, len(data) - 1):
        pack.write_bytes(data[:end])
        with pytest.raises(BrokenPack):
            compiled.unpack(pack, there, PURPOSE)
    pack.write_bytes(data + b"x")
    with pytest.raises(BrokenPack):
        compiled.unpack(pack, there, PURPOSE)
    assert not there.exists()


def test_names_that_lead_elsewhere_are_none(place: Path, tmp_path: Path) -> None:
    from envforge.formats.packs import pack_tar

    pack = tmp_path / "p"
    pack.write_bytes(pack_tar.header("bin/sh", 1) + b"x".ljust(512, b"\0") + pack_tar.END)
    with pytest.raises(BrokenPack, match="does not belong"):
        compiled.unpack(pack, tmp_path / "there", PURPOSE)
    block = pack_tar.header("inductor/aa/x", 0)
    evil = block.replace(b"inductor/aa/x", b"inductor/../x")
    pack.write_bytes(evil + pack_tar.END)
    with pytest.raises(BrokenPack):
        compiled.unpack(pack, tmp_path / "there", PURPOSE)


def test_what_cannot_be_had_is_said(tmp_path: Path, place: Path) -> None:
    with pytest.raises(FileNotUsable):
        compiled.unpack(tmp_path / "none", place, PURPOSE)
    with pytest.raises(FileNotUsable):
        compiled.pack(place, tmp_path / "no" / "folder", PURPOSE)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotUsable):
        compiled.share(place, tmp_path / "file")


def test_a_disk_that_takes_nothing_is_named_and_not_the_pack(place: Path, tmp_path: Path) -> None:
    """It is where space is wanted."""
    compiled.pack(place, tmp_path / "p", PURPOSE)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotUsable, match=f"`{tmp_path}/file/"):
        compiled.unpack(tmp_path / "p", tmp_path / "file", PURPOSE)


def test_removing_takes_units_and_forgives_others(place: Path) -> None:
    compiled.remove(place, ["triton/HASH", "inductor/ab/cabc.py", "triton/GONE"])

    assert "triton/HASH/kernel.json" not in tree(place)
    assert "inductor/ab/cabc.so" in tree(place)
    assert compiled.folders(place / "none") == []
    assert [path.name for path in compiled.folders(place)] == ["cuda", "inductor", "triton"]


def test_another_file_is_told_to_be_none(tmp_path: Path) -> None:
    for content in (b"", b"not a pack", b"x" * 10_000):
        (tmp_path / "p").write_bytes(content)
        with pytest.raises(BrokenPack, match="it is no pack of compiled code") as caught:
            compiled.unpack(tmp_path / "p", tmp_path / "there", PURPOSE)
        assert "cache compile ENV --pack FILE" in str(caught.value.hint)
