"""Moves: what a person reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.conda_solver import package
from fakes.locks import lock, locks, wheel
from hypothesis import given

from envforge.adapters.version_rules import RealVersionRules
from envforge.model.difference import Move
from envforge.model.lock import Lock
from envforge.team import difference
from envforge.team.moves import groups, moves

NUMPY = package("numpy", "1.26.4", depends=("python",))


def moved(old: Lock, new: Lock, asked: Any = ()) -> tuple[Move, ...]:
    common = [item for item in new.platforms if item in old.platforms]
    found = difference.compare(old, new)
    return moves(found, old, new, platforms=common, asked=asked, rules=RealVersionRules())


@pytest.mark.parametrize(
    ("other", "kind", "before", "after"),
    [
        (package("numpy", "2.0.1"), "upgraded", "1.26.4", "2.0.1"),
        (package("numpy", "1.9"), "downgraded", "1.26.4", "1.9"),
        (package("numpy", "1.26.4", "h1_1"), "rebuilt", "1.26.4 h0_0", "1.26.4 h1_1"),
        (
            package("numpy", "1.26.4", channel="bioconda"),
            "other-source",
            "1.26.4 from conda-forge",
            "1.26.4 from bioconda",
        ),
        (
            replace(NUMPY, sha256="f" * 64),
            "other-bytes",
            f"1.26.4 {NUMPY.sha256[:12]}",
            f"1.26.4 {'f' * 12}",
        ),
        (wheel("numpy", "1.26.4"), "other-source", "1.26.4 (conda)", "1.26.4 (pip)"),
        (wheel("numpy", "2.0"), "changed", "1.26.4 (conda)", "2.0 (pip)"),
        (package("numpy", "a b"), "changed", "1.26.4", "a b"),
    ],
)
def test_kinds(other: Any, kind: str, before: str, after: str) -> None:
    [move] = moved(lock(NUMPY), lock(other))
    assert (move.kind, move.before, move.after) == (kind, before, after)


def test_conda_versions_are_compared_as_conda_does() -> None:
    [move] = moved(lock(package("tzdata", "2023c")), lock(package("tzdata", "2024a")))
    assert move.kind == "upgraded"


def test_one_move_for_several_platforms() -> None:
    both = [package("a", "1", platform=item) for item in ("linux-64", "win-64")]
    old = lock(*both, package("w", "1", platform="win-64"))
    new = lock(*(replace(item, version="2") for item in both), package("w", "2", platform="win-64"))
    told = {item.name: item.platforms for item in moved(old, new)}
    assert told == {"a": ("linux-64", "win-64"), "w": ("win-64",)}


def test_came_and_went() -> None:
    told = moved(lock(package("a", "1")), lock(package("b", "2")))
    assert [(item.name, item.kind, item.before, item.after) for item in told] == [
        ("a", "removed", "1", ""),
        ("b", "added", "", "2"),
    ]


def test_a_bare_lock_takes_what_nothing_needs_for_asked() -> None:
    old = lock(package("a", "1", depends=("b",)), package("b", "1"))
    new = lock(package("a", "2", depends=("b >=2",)), package("b", "2"))
    told = {item.name: item.cause.why for item in moved(old, new, None)}
    assert told == {"a": "asked", "b": "because"}


def test_groups_come_by_size_and_what_nothing_forced_last() -> None:
    old = lock(
        package("a", "1", depends=("x", "y")),
        package("b", "1", depends=("z",)),
        *(package(name, "1") for name in ("x", "y", "z", "free")),
    )
    new = lock(
        package("a", "2", depends=("x >=2", "y >=2")),
        package("b", "2", depends=("z >=2",)),
        *(package(name, "2") for name in ("x", "y", "z", "free")),
    )
    asked, others = groups(moved(old, new, {"a", "b"}))
    assert [item.name for item in asked] == ["a", "b"]
    assert [(item.why, item.root, len(item.moves)) for item in others] == [
        ("because", "a", 2),
        ("because", "b", 1),
        ("fresh", "", 1),
    ]


@given(locks(), locks())
def test_every_material_change_is_told(old: Lock, new: Lock) -> None:
    common = {item for item in new.platforms if item in old.platforms}
    told = {(item.name, platform) for item in moved(old, new) for platform in item.platforms}
    assert told == {
        (item.either.name, item.either.platform)
        for item in difference.compare(old, new).material
        if item.either.platform in common
    }
