"""Whatever is not byte for byte what we write is told, and read no further."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.packs import PackMaker, digest, rewrite, summed

from envforge.adapters.pack.reading import OpenPack, open_pack
from envforge.errors import BrokenPack, FileNotUsable
from envforge.formats.packs import pack_index
from envforge.model.pack import PackMember

DATA = b"weights" * 1000


def maker() -> PackMaker:
    return PackMaker(members=[("models/a", "model", DATA), ("models/b", "model", b"")])


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return maker().write(tmp_path / "p.tar")


def prove(path: Path) -> int:
    with open_pack(path) as opened:
        return opened.verify(lambda *_: None)


def refused(path: Path) -> str:
    with pytest.raises(BrokenPack) as caught:
        prove(path)
    return caught.value.reason


def test_a_good_one_is_read_wholly_and_in_parts(pack: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with open_pack(pack) as opened:
        assert opened.verify(lambda done, total: told.append((done, total))) == len(DATA)
        member = opened.index.by_hash[digest(DATA)]
        assert b"".join(opened.chunks(member, 70)) == DATA[70:]
        opened.copy(member, tmp_path / "copy")

    assert (tmp_path / "copy").read_bytes() == DATA
    assert told[-1] == (len(DATA), len(DATA))


def test_cut_anywhere_it_is_told(pack: Path, tmp_path: Path) -> None:
    data = pack.read_bytes()
    cut = tmp_path / "cut.tar"
    for kept in (0, 100, 512, 1000, 7000, 8000, len(data) - 1024, len(data) - 1):
        cut.write_bytes(data[:kept])
        assert refused(cut)


def test_flipped_anywhere_it_is_told(pack: Path, tmp_path: Path) -> None:
    """One bit, at every place of headers and ends, and here and there in contents."""
    data = pack.read_bytes()
    flipped = tmp_path / "flipped.tar"
    places = [*range(0, 512, 7), *range(512, len(data), 97), len(data) - 1]
    for at in places:
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        flipped.write_bytes(changed)
        assert refused(flipped), at


def test_what_follows_the_end_is_told(pack: Path) -> None:
    with pack.open("ab") as stream:
        stream.write(bytes(512))
    assert refused(pack) == "it does not end where its members do"


def test_what_hides_behind_a_member_is_told(pack: Path) -> None:
    data = bytearray(pack.read_bytes())
    data[512 + len(DATA) + 1] = 1
    pack.write_bytes(data)
    assert refused(pack) == "something is hidden behind `models/a`"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda block: summed(block[:156] + b"2" + block[157:]), "not that of a plain file"),
        (
            lambda block: summed(b"../../evil".ljust(100, b"\0") + block[100:]),
            "no name of a member",
        ),
        (lambda block: summed(b"/etc/evil".ljust(100, b"\0") + block[100:]), "no name of a member"),
        (lambda block: summed(block[:124] + b"\x80" + b"\xff" * 11 + block[136:]), "no size"),
        (lambda block: summed(block[:124] + b"77777777777\0" + block[136:]), "cut off within"),
    ],
    ids=["symlink", "climbing", "absolute", "huge", "beyond-the-end"],
)
def test_hostile_headers_are_told(pack: Path, change: Callable[[bytes], bytes], why: str) -> None:
    rewrite(pack, "models/b", change)
    assert why in refused(pack)


def test_two_members_of_one_name_are_told(pack: Path) -> None:
    rewrite(pack, "models/b", lambda block: summed(b"models/a".ljust(100, b"\0") + block[100:]))
    assert refused(pack) == "`models/a` stands in it twice"


def test_swapped_members_are_told(tmp_path: Path) -> None:
    """Of one size, so that only their hashes tell."""
    made = PackMaker(members=[("models/a", "model", b"one"), ("models/b", "model", b"two")])
    path = made.write(tmp_path / "p.tar")
    path.write_bytes(path.read_bytes().replace(b"one", b"tmp").replace(b"two", b"one"))

    assert "`models/a` has sha256" in refused(path)


def test_an_index_that_lists_others_is_told(tmp_path: Path) -> None:
    made = maker()
    made.index = lambda data: data.replace(b"models/a", b"models/z")
    assert refused(made.write(tmp_path / "p.tar")) == "its index lists other members than it holds"


def test_a_receipt_that_states_others_is_told(tmp_path: Path) -> None:
    made = maker()
    made.receipt = lambda data: data.replace(digest(DATA).encode(), b"0" * 64)
    reason = refused(made.write(tmp_path / "p.tar"))
    assert reason == "its receipt states other members than its index lists"


def test_a_tar_of_somebody_else_is_no_pack(tmp_path: Path) -> None:
    import tarfile

    (tmp_path / "x").write_text("x")
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(tmp_path / "x", "x")
    (tmp_path / "zip").write_bytes(b"PK\3\4" + bytes(4096))

    assert refused(tmp_path / "t.tar") == "it is something else"
    assert refused(tmp_path / "zip") == "it is something else"


def test_a_pack_without_index_is_told(tmp_path: Path) -> None:
    from envforge.formats.packs import pack_tar

    path = tmp_path / "p.tar"
    path.write_bytes(pack_tar.header("a", 0) + pack_tar.END)
    assert refused(path) == "it has no `index.json`"


def test_members_behind_the_index_are_told(tmp_path: Path) -> None:
    from fakes.packs import put

    from envforge.adapters.pack.writing import PackWriter
    from envforge.model.pack import PackIndex

    path = tmp_path / "p.tar"
    with path.open("w+b") as stream:
        writer = PackWriter(stream)
        index = PackIndex(platform="linux-64", environments=(), members=())
        put(writer, "index.json", "environment", pack_index.write_index(index))
        put(writer, "receipt.json", "environment", b"{}")
        put(writer, "extra", "model", b"x")
        writer.finish()
    assert refused(path) == "it does not end with index and receipt"


def test_a_huge_index_is_not_read(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_index, "MOST", 10)
    assert "which no such file is" in refused(pack)


def test_a_file_that_changes_while_it_is_read_is_told(pack: Path, tmp_path: Path) -> None:
    """It was proven; what is copied is proven again."""
    with open_pack(pack) as opened:
        opened.verify(lambda *_: None)
        with pack.open("r+b") as stream:
            stream.seek(600)
            stream.write(b"?")
        with pytest.raises(BrokenPack, match="has changed while it was read"):
            opened.copy(opened.index.members[0], tmp_path / "copy")
        with pack.open("r+b") as stream:
            stream.truncate(700)
        with pytest.raises(BrokenPack, match="it ends within"):
            list(opened.chunks(opened.index.members[0]))
    assert not (tmp_path / "copy").exists()


def test_disks_that_refuse_are_told(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotUsable), open_pack(tmp_path / "none.tar"):
        pass
    with pytest.raises(FileNotUsable), open_pack(tmp_path):
        pass
    with open_pack(pack) as opened:
        taken = tmp_path / "taken"
        taken.write_text("mine")
        with pytest.raises(FileNotUsable):
            opened.copy(opened.index.members[0], taken)
        assert taken.read_text() == "mine"


def test_an_unreadable_disk_is_told(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def fails(*_: object) -> bytes:
        raise OSError(5, "input/output error")

    with open_pack(pack) as opened:
        monkeypatch.setattr(os, "pread", fails)
        with pytest.raises(FileNotUsable, match="input/output error"):
            first_chunk(opened, opened.index.members[0])


def first_chunk(pack: OpenPack, member: PackMember) -> bytes:
    return next(pack.chunks(member))
