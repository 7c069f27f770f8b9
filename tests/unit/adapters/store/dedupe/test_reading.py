"""Hashes, samples, comparisons."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.hub_caches import git_sha1, put, sha256

from envforge.adapters.store.dedupe.crew import Crew, Interrupted
from envforge.adapters.store.dedupe.reading import Reader
from envforge.cache.dedupe_plan import WHOLE, sample_places

SIZES = [1, 4095, 4096, WHOLE, WHOLE + 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_500_001]


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def reader() -> Reader:
    return Reader(Crew())


@pytest.mark.parametrize("size", SIZES)
def test_the_hash_is_the_claims_kind(tmp_path: Path, reader: Reader, size: int) -> None:
    data = content(size)
    with opened(put(tmp_path / "f", data)) as descriptor:
        assert reader.hashed(descriptor, size, "a" * 64).digest == sha256(data)
        assert reader.hashed(descriptor, size, "a" * 40).digest == git_sha1(data)


@pytest.mark.parametrize("size", SIZES)
def test_samples_are_the_same_whether_all_was_read_or_not(
    tmp_path: Path, reader: Reader, size: int
) -> None:
    data, claim = content(size), "a" * 64
    with opened(put(tmp_path / "f", data)) as descriptor:
        pieces = reader.hashed(descriptor, size, claim).pieces
        assert pieces == reader.sampled(descriptor, size, claim)
        assert all(data[place : place + len(piece)] == piece for place, piece in pieces)
        assert [place for place, _ in pieces] == (
            [0] if size <= WHOLE else sample_places(claim, size)
        )
        assert reader.agrees(descriptor, size, pieces)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("where", ["first", "last"])
def test_another_sample_does_not_agree(
    tmp_path: Path, reader: Reader, size: int, where: str
) -> None:
    data, claim = content(size), "a" * 64
    place = 0 if size <= WHOLE else sample_places(claim, size)[0]
    at = place if where == "first" else size - 1
    other = bytearray(data)
    other[at] ^= 1
    with (
        opened(put(tmp_path / "f", data)) as one,
        opened(put(tmp_path / "g", bytes(other))) as two,
    ):
        assert not reader.agrees(two, size, reader.sampled(one, size, claim))


def test_samples_read_little(tmp_path: Path, reader: Reader) -> None:
    data = content(20 << 20)
    with opened(put(tmp_path / "f", data)) as descriptor:
        reader.sampled(descriptor, len(data), "a" * 64)

    assert reader.read < len(data) // 100


@pytest.mark.parametrize("size", SIZES[3:])
def test_files_are_compared_wholly(tmp_path: Path, reader: Reader, size: int) -> None:
    data = content(size)
    other = bytearray(data)
    other[size // 3] ^= 1
    with (
        opened(put(tmp_path / "f", data)) as one,
        opened(put(tmp_path / "g", data)) as same,
        opened(put(tmp_path / "h", bytes(other))) as different,
    ):
        digest, equal = reader.compared(one, [different, same], size, "a" * 64)

    assert (digest, equal) == (sha256(data), [False, True])


def test_a_file_that_shrinks_is_no_file_to_keep(tmp_path: Path, reader: Reader) -> None:
    with (
        opened(put(tmp_path / "f", b"x" * 10)) as descriptor,
        pytest.raises(OSError, match="shorter"),
    ):
        reader.hashed(descriptor, WHOLE + 1, "a" * 64)


def test_reading_stops_when_all_are_to_stop(tmp_path: Path) -> None:
    crew = Crew()
    crew.stop.set()
    with (
        opened(put(tmp_path / "f", content(WHOLE + 1))) as descriptor,
        pytest.raises(Interrupted),
    ):
        Reader(crew).hashed(descriptor, WHOLE + 1, "a" * 64)
