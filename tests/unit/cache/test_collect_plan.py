"""What may go, and why the rest stays."""

from __future__ import annotations

from typing import Any

import pytest

from envforge.cache.collect_plan import (
    Collected,
    CollectPlan,
    InUse,
    Limits,
    last_use,
    plan_collection,
)
from envforge.cache.survey import FileFacts, StoredFile

NOW = 1.8e9
DAY = 86400.0


def stored(name: str = "a", **facts: Any) -> StoredFile:
    """A file of the store that nothing uses, and nothing has happened to for 60 days."""
    known = {
        "device": 1,
        "inode": abs(hash(name)),
        "size": 100,
        "disk": 4096,
        "links": 1,
        "owner": 0,
        "read": NOW - 60 * DAY,
        "changed": NOW - 60 * DAY,
        **facts,
    }
    copy = known.pop("copy", 0)
    return StoredFile(sha256=name * 64, copy=copy, facts=FileFacts(**known))


def plan(*files: StoredFile, **given: Any) -> CollectPlan:
    limits = {"now": NOW, "older_than": 30 * DAY, "free": 0}
    limits |= {key: given.pop(key) for key in tuple(given) if key in {*limits, "keep_free"}}
    return plan_collection(files, InUse(**given), Limits(**limits))


def test_an_old_file_that_nothing_uses_goes() -> None:
    made = plan(stored())
    assert made.remove == (stored(),)
    assert made.bytes == 4096
    assert made.kept == {}


@pytest.mark.parametrize(
    ("file", "in_use", "reason"),
    [
        (stored(links=2), {}, "linked"),
        (stored(), {"locked": {"a" * 64}}, "locked"),
        (stored(), {"leased": {"a" * 64}}, "leased"),
        (stored(), {"copied": {"a" * 64}}, "copied"),
        (stored(changed=NOW - 29 * DAY), {}, "young"),
        (stored(read=NOW - 29 * DAY), {}, "young"),
        (stored(read=None, changed=NOW - 29 * DAY), {}, "young"),
        (stored(changed=NOW + 5 * DAY), {}, "young"),
    ],
)
def test_why_one_stays(file: StoredFile, in_use: dict[str, Any], reason: str) -> None:
    made = plan(file, **in_use)
    assert made.remove == ()
    assert made.kept == {reason: (1, 4096)}


def test_a_use_of_another_file_saves_nothing() -> None:
    used = {"locked": {"b" * 64}, "leased": {"c" * 64}, "copied": {"d" * 64}}
    assert plan(stored(), **used).remove == (stored(),)


def test_reads_that_are_not_recorded_count_for_nothing() -> None:
    """On a mount with `noatime` the last change decides, and it is long ago."""
    file = stored(read=None)
    assert plan(file).remove == (file,)
    assert last_use(file) == NOW - 60 * DAY


def test_inodes_of_one_hash_stay_together() -> None:
    """The first has all links that ext4 gives, the second has some: both are needed."""
    assert plan(stored(links=65_000), stored(copy=1)).kept == {"linked": (2, 8192)}
    assert plan(stored(), stored(copy=1, links=2)).kept == {"linked": (2, 8192)}
    assert plan(stored(), stored(copy=1, changed=NOW)).kept == {"young": (2, 8192)}


def test_second_inodes_go_first() -> None:
    made = plan(stored(copy=1), stored(), stored(copy=2))
    assert [item.copy for item in made.remove] == [2, 1, 0]


def test_oldest_first_until_enough_is_free() -> None:
    files = [
        stored(name, changed=NOW - days * DAY, read=None)
        for name, days in zip("abc", (40, 60, 50), strict=True)
    ]
    made = plan(*files, free=1000, keep_free=6000)
    assert [item.sha256[0] for item in made.remove] == ["b", "c"]
    assert made.kept == {"enough free": (1, 4096)}
    assert made.missing == 0
    assert plan(*files, free=6000, keep_free=6000).remove == ()


def test_what_is_missing_is_told() -> None:
    made = plan(stored(), stored("b", changed=NOW), free=1000, keep_free=10_000)
    assert made.missing == 10_000 - 1000 - 4096
    assert list(made.kept) == ["young"]


def test_no_grace() -> None:
    assert plan(stored(changed=NOW), older_than=0.0).remove


def test_what_is_freed() -> None:
    made = plan(stored(), stored("b"))
    shared = {"plan": made, "parts": (1, 10), "leftovers": (2, 5)}
    assert Collected(is_dry_run=True, **shared).freed == 8192 + 15  # type: ignore[arg-type]
    gone = Collected(is_dry_run=False, removed=made.remove[:1], **shared)  # type: ignore[arg-type]
    assert gone.freed == 4096 + 15
