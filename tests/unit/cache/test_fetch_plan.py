"""Which files have to come, and whether there is room for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.prefilling import wanted

from envforge.cache.fetch_plan import check_room, plan_fetch
from envforge.errors import HostileRepo, StoreFull
from envforge.model.fetching import FetchPlan, Wanted, of_lock, of_snapshot
from envforge.model.models import (
    HubFile,
    HubSnapshot,
    LockedModel,
    ModelFile,
    ModelRequest,
    Repo,
)
from envforge.model.prefix import Disk

BIG, SMALL = wanted(b"12345678"), wanted(b"12", "a.safetensors")
DISK = Disk(path="/store", device=1, free_bytes=10**6)


def planned(*missing: Wanted, at_hand: int = 0) -> FetchPlan:
    return plan_fetch(missing, lambda _: False, lambda _: at_hand)


def test_what_is_there_does_not_come_again() -> None:
    plan = plan_fetch([SMALL, BIG], lambda item: item == BIG, lambda _: 0)

    assert (plan.present, plan.missing) == ((BIG,), (SMALL,))
    assert plan.missing_bytes == 2


def test_the_largest_come_first_and_equal_ones_once() -> None:
    plan = planned(SMALL, BIG, replace(BIG, path="copy.safetensors"))

    assert [item.size for item in plan.missing] == [8, 2]


def test_what_was_left_is_not_fetched_again() -> None:
    plan = planned(BIG, SMALL, at_hand=5)

    assert (plan.at_hand, plan.missing_bytes) == (7, 10)


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "../../etc/passwd"},
        {"blob": "x"},
        {"blob": ""},
        {"size": -1},
    ],
)
def test_names_that_could_lead_elsewhere_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(HostileRepo):
        planned(replace(BIG, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("disk", "resource"),
    [
        (replace(DISK, free_bytes=8191), "bytes"),
        (replace(DISK, quota_bytes=0), "quota bytes"),
        (replace(DISK, free_inodes=3), "inodes"),
        (replace(DISK, quota_files=3), "quota files"),
    ],
)
def test_room_is_counted_in_blocks_and_inodes(disk: Disk, resource: str) -> None:
    with pytest.raises(StoreFull) as caught:
        check_room(planned(BIG, SMALL), disk)

    assert caught.value.resource == resource


def test_room_that_is_enough() -> None:
    enough = replace(DISK, free_bytes=8192, free_inodes=10, quota_bytes=8192, quota_files=10)

    check_room(planned(BIG, SMALL), enough)
    check_room(planned(), replace(DISK, free_bytes=0, free_inodes=0))


def test_a_lock_and_a_listing_want_each_file_once() -> None:
    repo = Repo(kind="dataset", id="org/data")
    twice = [ModelFile(path=path, size=1, sha256="a" * 64, blob="b" * 40) for path in ("x", "y")]
    model = LockedModel(request=ModelRequest(repo=repo), commit="c" * 40, files=tuple(twice))
    listed = HubSnapshot(
        repo=repo,
        commit="c" * 40,
        files=tuple(HubFile(path=item.path, size=1, blob="b" * 40) for item in twice),
    )

    [locked] = of_lock([model, model])
    [unknown] = of_snapshot(listed)

    assert (locked.key, unknown.key) == ("a" * 64, "b" * 40)
    assert unknown.shown == "dataset:org/data/y"
