"""Two locks that grew from one."""

from __future__ import annotations

from dataclasses import replace

from fakes.conda_solver import package
from fakes.locks import lock, locks
from hypothesis import given

from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.lock import UNSOLVED, Lock
from envforge.team.merge import merge

BASE = lock(
    package("a", "1"),
    package("b", "1"),
    package("a", "1", platform="win-64"),
    inputs_digest="0" * 64,
    content_hash={"linux-64": "0" * 64, "win-64": "0" * 64},
)


def moved(base: Lock, name: str, version: str, platform: str = "linux-64", **changes) -> Lock:
    packages = [
        package(name, version, platform=item.platform)
        if (item.name, item.platform) == (name, platform)
        else item
        for item in base.packages
    ]
    return replace(base, packages=tuple(packages), **changes)


def version(found: Lock, name: str, platform: str = "linux-64") -> str:
    item = found.find(name, platform)
    assert item
    return item.version


@given(locks(), locks())
def test_only_one_side_changed(base: Lock, other: Lock) -> None:
    """Then it is that side's, whole and solved."""
    for done in (merge(base, other, base), merge(base, base, other)):
        assert done.lock == other
        assert done.is_solved
        assert not done.conflicts


@given(locks(), locks())
def test_both_made_the_same_change(base: Lock, other: Lock) -> None:
    done = merge(base, other, other)
    assert (done.lock, done.is_solved) == (other, True)


@given(locks(), locks(), locks())
def test_whatever_comes_out_can_be_written_and_read(base: Lock, ours: Lock, theirs: Lock) -> None:
    done = merge(base, ours, theirs)
    text = conda_lock_yml.write(done.lock)
    assert conda_lock_yml.read(text, "x").packages == done.lock.packages
    assert (UNSOLVED in done.lock.metadata) is not done.is_solved


def test_both_sides_moved_packages_of_one_platform() -> None:
    done = merge(BASE, moved(BASE, "a", "2"), moved(BASE, "b", "2"))
    assert (version(done.lock, "a"), version(done.lock, "b")) == ("2", "2")
    assert not done.is_solved
    assert not done.conflicts
    assert "never solved" in done.lock.metadata[UNSOLVED]


def test_platforms_are_solved_apart() -> None:
    """Nobody asked for anything else, and each platform is as one solve left it."""
    done = merge(BASE, moved(BASE, "a", "2"), moved(BASE, "a", "3", "win-64"))
    assert (version(done.lock, "a"), version(done.lock, "a", "win-64")) == ("2", "3")
    assert done.is_solved


def test_other_inputs_on_both_sides_are_never_solved() -> None:
    ours = moved(BASE, "a", "2", inputs_digest="1" * 64)
    theirs = moved(BASE, "a", "3", "win-64", inputs_digest="2" * 64)
    done = merge(BASE, ours, theirs)
    assert not done.is_solved
    assert done.lock.inputs_digest == "1" * 64


def test_both_moved_one_package_elsewhere() -> None:
    done = merge(BASE, moved(BASE, "a", "2"), moved(BASE, "a", "3"))
    assert version(done.lock, "a") == "2"
    assert [item.name for item in done.conflicts] == ["a"]


def test_one_removed_what_the_other_moved() -> None:
    without = replace(BASE, packages=tuple(i for i in BASE.packages if i.name != "b"))
    [clash] = merge(BASE, without, moved(BASE, "b", "2")).conflicts
    assert (clash.name, clash.version) == ("b", "2")


def test_a_mark_of_an_earlier_merge_goes_when_a_side_was_solved() -> None:
    marked = replace(BASE, metadata={UNSOLVED: "merged"})
    solved = moved(BASE, "a", "2")
    assert UNSOLVED not in merge(marked, solved, marked).lock.metadata


def test_a_mark_stays_where_the_side_that_was_taken_bears_it() -> None:
    marked = replace(BASE, metadata={UNSOLVED: "merged"})
    assert UNSOLVED in merge(marked, moved(marked, "a", "2"), marked).lock.metadata
