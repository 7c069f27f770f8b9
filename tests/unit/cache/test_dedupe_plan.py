"""Which copies become one."""

from __future__ import annotations

import os
import stat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.cache.dedupe_plan import (
    SAMPLE,
    SAMPLES,
    Copy,
    Folder,
    Rules,
    claim_of,
    plan,
    sample_places,
    worth_reading,
)

CLAIM = "a" * 64
FOLDER = Folder("/cache/models--m/blobs", 1, 2, 10_000_000_000)


def copy(inode: int, *, plain: bool = False, names: int = 1, **fields: Any) -> Copy:
    """A copy of ten bytes that one name leads to."""
    values = {"mode": 0o100644, "device": 1, "links": names, "uid": 1000, "gid": 1000, "size": 10}
    values |= {"time": 5, **fields}
    found = os.stat_result(
        (
            *(values["mode"], inode, values["device"], values["links"]),
            *(values["uid"], values["gid"], values["size"]),
            *(values["time"], values["time"], values["time"]),
        ),
        {"st_blocks": 8, "st_mtime_ns": values["time"] * 10**9, "st_ctime_ns": 0},
    )
    return Copy(found, [(FOLDER, f"{inode}-{number}") for number in range(names)], plain)


def inodes(copies: list[Copy]) -> list[int]:
    return [item.found.st_ino for item in copies]


def test_two_copies_become_one_and_the_older_is_kept() -> None:
    planned = plan({CLAIM: [copy(1, time=7), copy(2, time=6)]}, Rules())

    [twins] = planned.twins
    assert inodes(twins.copies) == [2, 1]
    assert (planned.gain, planned.copies, twins.size) == (4096, 1, 10)
    assert planned.left == {}


def test_the_one_with_most_links_is_kept() -> None:
    """So that the fewest names change."""
    [twins] = plan({CLAIM: [copy(1, time=1), copy(2, names=3, time=9)]}, Rules()).twins

    assert inodes(twins.copies) == [2, 1]


def test_one_that_need_not_be_read_is_kept() -> None:
    copies = [copy(1, time=1), copy(2, time=9)]

    [twins] = plan({CLAIM: copies}, Rules(), lambda _, item: item.found.st_ino == 2).twins

    assert inodes(twins.copies) == [2, 1]


def test_a_file_that_people_may_edit_is_not_kept() -> None:
    copies = [copy(1, plain=True, names=2), copy(2)]

    [twins] = plan({CLAIM: copies}, Rules()).twins

    assert inodes(twins.copies) == [2, 1]


def test_nothing_is_planned_for_one_copy_or_other_sizes() -> None:
    """A copy that is shorter than another was cut off, and is not what it is called."""
    planned = plan({CLAIM: [copy(1), copy(2, size=11)], "b" * 64: [copy(3)]}, Rules())

    assert planned.twins == ()
    assert planned.left == {}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"device": 2}, "other filesystem"),
        ({"uid": 1001}, "other owner"),
        ({"gid": 1001}, "other owner"),
        ({"mode": 0o100600}, "other mode"),
    ],
)
def test_what_keeps_copies_apart_is_counted(fields: dict[str, int], reason: str) -> None:
    planned = plan({CLAIM: [copy(1), copy(2, **fields)]}, Rules())

    assert planned.twins == ()
    assert planned.left == {reason: 1}
    assert planned.left_bytes == 4096


def test_owner_and_mode_may_differ_when_told_so() -> None:
    copies = [copy(1), copy(2, uid=7, mode=0o100600)]

    assert plan({CLAIM: copies}, Rules(any_owner=True)).twins == ()
    assert plan({CLAIM: copies}, Rules(any_mode=True)).twins == ()
    assert len(plan({CLAIM: copies}, Rules(any_owner=True, any_mode=True)).twins) == 1


def test_another_filesystem_is_never_allowed() -> None:
    copies = [copy(1), copy(2, device=2)]

    assert plan({CLAIM: copies}, Rules(any_owner=True, any_mode=True)).twins == ()


def test_files_with_special_bits_are_left() -> None:
    copies = [copy(1, mode=0o104755), copy(2, mode=0o104755)]

    assert plan({CLAIM: copies}, Rules()).twins == ()


def test_a_copy_with_names_elsewhere_stays() -> None:
    """Its bytes would stay on the disk, and whoever shares it would lose that."""
    copies = [copy(1, links=5), copy(2, links=3), copy(3)]

    planned = plan({CLAIM: copies}, Rules())

    assert [inodes(item.copies) for item in planned.twins] == [[1, 3]]
    assert planned.left == {"names elsewhere": 1}


def test_a_blob_that_was_written_after_its_folder_is_suspect() -> None:
    assert not copy(1, time=11).is_suspect
    assert copy(1, time=13).is_suspect


# --- samples --------------------------------------------------------------------------------


@given(st.integers(0, 1 << 40), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_samples_lie_inside_and_are_the_same_again(size: int, claim: str) -> None:
    places = sample_places(claim, size)

    assert places == sample_places(claim, size) == sorted(set(places))
    assert all(0 <= place <= max(0, size - SAMPLE) for place in places)
    assert len(places) <= SAMPLES + 1
    assert max(0, size - SAMPLE) in places  # what a broken download lacks


@given(st.integers(SAMPLE * SAMPLES, 1 << 36), st.floats(0, 1))
def test_no_sixteenth_of_a_file_goes_unsampled(size: int, where: float) -> None:
    stretch = size // 16 + 2 * SAMPLE
    start = int((size - stretch) * where)

    places = sample_places(CLAIM, size)

    assert any(start <= place <= start + stretch - SAMPLE for place in places)


def test_other_files_are_sampled_in_other_places() -> None:
    assert sample_places("a" * 64, 1 << 30) != sample_places("b" * 64, 1 << 30)


# --- claims ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a" * 64, "0" * 40])
def test_hashes_are_claims(name: str) -> None:
    assert claim_of(name) == name


@pytest.mark.parametrize("name", ["", "a" * 63, "A" * 64, "a" * 64 + ".lock", "a" * 40 + "\n"])
def test_other_names_say_nothing(name: str) -> None:
    assert claim_of(name) == ""


def test_a_file_without_a_claim_is_read_where_another_has_its_size() -> None:
    unnamed = [copy(1), copy(2, size=99)]

    [item] = worth_reading([(CLAIM, copy(3))], unnamed)

    assert (item.copy, item.kind) == (unnamed[0], "sha256")


def test_it_is_hashed_as_those_of_its_size_are_named() -> None:
    [item] = worth_reading([("0" * 40, copy(3))], [copy(1)])

    assert item.kind == "git-sha1"


def test_two_without_a_claim_are_read_in_a_cache_but_not_among_other_files() -> None:
    assert len(worth_reading([], [copy(1), copy(2)])) == 2
    assert worth_reading([], [copy(1, plain=True), copy(2, plain=True)]) == []


def test_weights_are_read_wherever_they_lie() -> None:
    def weights(inode: int) -> Copy:
        return copy(inode, plain=True)._replace(names=[(FOLDER, f"{inode}.safetensors")])

    assert len(worth_reading([], [weights(1), weights(2)])) == 2


def test_a_plain_file_of_a_blobs_size_is_read() -> None:
    assert len(worth_reading([(CLAIM, copy(1))], [copy(2, plain=True)])) == 1


def test_modes_are_what_stat_says() -> None:
    assert stat.S_ISREG(copy(1).found.st_mode)
    assert copy(1).path == "/cache/models--m/blobs/1-0"
