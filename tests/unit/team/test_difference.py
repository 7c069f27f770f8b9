"""The exact difference of two locks, and what it is worth."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.conda_solver import package
from fakes.locks import lock, locks
from hypothesis import given

from envforge.model.difference import PackageChange, origin
from envforge.model.lock import Lock
from envforge.team.difference import apply, compare


@given(locks(), locks())
def test_the_difference_applied_to_the_old_lock_is_the_new_one(old: Lock, new: Lock) -> None:
    assert apply(compare(old, new), old) == new


@given(locks())
def test_a_lock_does_not_differ_from_itself(one: Lock) -> None:
    assert compare(one, one).changes == ()


@given(locks(), locks())
def test_the_other_way_round_is_the_same_difference_turned(old: Lock, new: Lock) -> None:
    there, back = compare(old, new), compare(new, old)
    assert [(item.before, item.after) for item in there.changes] == [
        (item.after, item.before) for item in back.changes
    ]


@given(locks(), locks())
def test_changes_are_sorted_and_each_place_is_told_once(old: Lock, new: Lock) -> None:
    places = [
        (item.either.platform, item.either.name, item.either.manager)
        for item in compare(old, new).changes
    ]
    assert places == sorted(set(places))


def test_a_difference_belongs_to_the_lock_that_it_was_taken_from() -> None:
    old, new = lock(package("a", "1")), lock(package("a", "2"))
    found = compare(old, new)
    with pytest.raises(ValueError, match="another lock"):
        apply(found, replace(old, channels=("bioconda",)))
    with pytest.raises(ValueError, match="`a` is not what"):
        apply(found, lock(package("a", "1.5")))


def test_sizes_and_recorded_needs_are_not_material() -> None:
    one = package("a", "1")
    noted = replace(one, size=5, depends=("b",))
    unsaid = replace(one, md5="", sha256="")
    assert not PackageChange(before=one, after=noted).is_material
    assert not PackageChange(before=one, after=unsaid).is_material


@pytest.mark.parametrize(
    "other",
    [
        package("a", "2"),
        package("a", "1", "h1_1"),
        replace(package("a", "1"), sha256="f" * 64),
        replace(
            package("a", "1"), url="https://mirror.example/conda-forge/linux-64/a-1-h0_0.conda"
        ),
    ],
    ids=["version", "build", "bytes", "origin"],
)
def test_what_would_install_or_fetch_something_else_is(other) -> None:
    assert PackageChange(before=package("a", "1"), after=other).is_material


def test_the_origin_of_a_wheel_is_its_host() -> None:
    assert origin(package("a", "1")) == "https://conda.anaconda.org/conda-forge"
    assert origin(replace(package("a", "1"), url="")) == ""
