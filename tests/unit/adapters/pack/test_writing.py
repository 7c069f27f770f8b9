"""Packs are written once, and gone on with where they ended."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from fakes.packs import digest, put

from envforge.adapters.pack.writing import Differs, PackWriter, digest_of

FILES = {"a.txt": b"a" * 700, "b.txt": b"", "c.txt": b"c" * 1024}


def write(stream: io.BufferedIOBase, *, goes_on: bool = False) -> PackWriter:
    writer = PackWriter(stream, goes_on=goes_on)  # type: ignore[arg-type]
    for name, data in FILES.items():
        if not writer.keep(name, "wheel", digest(data)):
            put(writer, name, "wheel", data)
    writer.finish()
    return writer


def whole() -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def test_hash_size_and_members_are_those_of_the_file() -> None:
    stream = io.BytesIO()
    writer = write(stream)

    assert writer.size == len(stream.getvalue())
    assert writer.sha256 == hashlib.sha256(stream.getvalue()).hexdigest()
    assert [(item.name, item.size) for item in writer.members] == [
        (name, len(data)) for name, data in FILES.items()
    ]
    assert writer.resumed == 0


@pytest.mark.parametrize("kept", [0, 1, 511, 512, 600, 1212, 1536, 2048, 2060, 3584, 5000])
def test_wherever_it_was_cut_the_same_bytes_come_of_it(kept: int) -> None:
    data = whole()
    stream = io.BytesIO(data[:kept])

    writer = write(stream, goes_on=True)

    assert stream.getvalue() == data
    assert writer.sha256 == hashlib.sha256(data).hexdigest()
    assert writer.size == len(data)
    ends = [1536, 2048, 3584]
    assert writer.resumed == sum(end <= kept for end in ends)


@pytest.mark.parametrize("at", [0, 3, 512, 700, 1300, 1536, 3000, 3700])
def test_what_was_changed_meanwhile_is_written_anew(at: int) -> None:
    data = whole()
    damaged = bytearray(data)
    damaged[at] ^= 1
    stream = io.BytesIO(bytes(damaged) + b"and more")

    writer = write(stream, goes_on=True)

    assert stream.getvalue() == data
    assert writer.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("data", [b"other", b"right and more", b"righ"])
def test_a_source_with_other_bytes_leaves_nothing(data: bytes) -> None:
    stream = io.BytesIO()
    writer = PackWriter(stream)
    put(writer, "a", "wheel", b"first")
    before = stream.getvalue()

    with pytest.raises(Differs):
        writer.add("b", "wheel", 5, io.BytesIO(data), digest(b"right"))
    assert stream.getvalue() == before
    put(writer, "b", "wheel", b"right")
    writer.finish()
    assert writer.sha256 == hashlib.sha256(stream.getvalue()).hexdigest()


def test_a_pipe_is_only_written_to() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    writer = PackWriter(pipe)  # type: ignore[arg-type]
    with pytest.raises(Differs):
        writer.add("b", "wheel", 5, io.BytesIO(b"wrong"), digest(b"right"))
    pipe.data = b""
    assert write(pipe).sha256 == hashlib.sha256(pipe.data).hexdigest()  # type: ignore[arg-type]


def test_how_far_it_is_is_told(tmp_path: Path) -> None:
    told: list[int] = []
    file = tmp_path / "p"
    with file.open("w+b") as stream:
        put(PackWriter(stream, watch=told.append), "a", "wheel", b"x" * 2000)

    assert told == [2512, 2560]
    assert digest_of(file) == digest(file.read_bytes())
