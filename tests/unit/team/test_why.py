"""Why packages moved."""

from __future__ import annotations

from fakes.conda_solver import package
from fakes.locks import lock, locks
from hypothesis import given

from envforge.adapters.version_rules import RealVersionRules
from envforge.model.difference import Cause
from envforge.model.lock import Lock, LockedPackage
from envforge.team.why import causes, depends, tops

RULES = RealVersionRules()


def found(
    old: list[LockedPackage], new: list[LockedPackage], asked: tuple[str, ...]
) -> dict[str, Cause]:
    before, after = ({item.name: item for item in side} for side in (old, new))
    moved = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return causes(old, new, moved, asked, RULES)


def test_a_direct_dependency_moved_because_it_is_one() -> None:
    told = found([package("a", "1", depends=("b",))], [package("a", "2", depends=("b",))], ("a",))
    assert told["a"].why == "asked"


def test_what_the_new_version_would_not_have_moved_because_of_it() -> None:
    old = [package("a", "1", depends=("b >=1",)), package("b", "1", depends=("c",))]
    new = [package("a", "2", depends=("b >=2",)), package("b", "2", depends=("c",))]
    assert found(old, new, ("a",))["b"] == Cause(why="because", root="a", detail="a 2 needs b >=2")


def test_what_would_not_have_found_what_it_needs_moved_because_of_that() -> None:
    """A build for Python 3.10 cannot stay when Python moves."""
    old = [package("python", "3.10"), package("numpy", "1", "py310", depends=("python 3.10.*",))]
    new = [package("python", "3.11"), package("numpy", "1", "py311", depends=("python 3.11.*",))]
    told = found(old, new, ("python",))["numpy"]
    assert (told.why, told.root) == ("because", "python")
    assert told.detail == "numpy 1 needs python 3.10.*"


def test_builds_count_too() -> None:
    old = [package("x", "1", "cpu_0", depends=("y",)), package("t", "1", depends=("x * cpu*",))]
    new = [package("x", "1", "cuda_0", depends=("y",)), package("t", "2", depends=("x * cuda*",))]
    assert found(old, new, ("t",))["x"].root == "t"


def test_what_came_and_what_went() -> None:
    old = [package("a", "1", depends=("gone",)), package("gone", "1")]
    new = [package("a", "2", depends=("come >=1",)), package("come", "1", depends=("deep",))]
    new.append(package("deep", "1"))
    told = found(old, new, ("a",))
    assert told["gone"] == Cause(why="because", root="a", detail="a 2 does not need it")
    assert told["come"].detail == "a 2 needs come >=1"
    assert told["deep"] == Cause(why="because", root="a", detail="come 1 needs deep")


def test_what_goes_with_a_package_that_goes() -> None:
    old = [package("a", "1", depends=("b",)), package("b", "1"), package("z", "1", depends=("y",))]
    told = found(old, [package("z", "1", depends=("y",))], ("a",))
    assert told["a"].why == "asked"
    assert told["b"] == Cause(why="because", root="a", detail="a went")


def test_what_nothing_forced_moved_by_itself_and_may_force_others() -> None:
    old = [
        package("openssl", "3.1", depends=("c",)),
        package("curl", "8", depends=("openssl <3.2",)),
    ]
    new = [package("openssl", "3.2", depends=("c",)), package("curl", "8.1", depends=("openssl",))]
    told = found(old, new, ("python",))
    assert told["openssl"].why == "fresh"
    assert told["curl"].root == "openssl"


def test_a_ring_that_nothing_outside_began_is_told_all_the_same() -> None:
    old = [package("a", "1", depends=("b ==1",)), package("b", "1", depends=("a ==1",))]
    new = [package("a", "2", depends=("b ==2",)), package("b", "2", depends=("a ==2",))]
    told = found(old, new, ())
    assert told["a"].why == "fresh"
    assert told["b"].root == "a"


def test_lists_that_hold_no_needs_give_no_reasons() -> None:
    told = found(
        [package("a", "1"), package("b", "1")], [package("a", "2"), package("b", "2")], ("a",)
    )
    assert (told["a"].why, told["b"].why) == ("asked", "unknown")


def test_names_and_ranges_of_all_writings() -> None:
    item = package(
        "a", "1", depends=("__cuda", "python>=3.8", "b 1.* h_0", "c >=1; os_name == 'x'")
    )
    assert list(depends(item)) == [("python", ">=3.8"), ("b", "1.* h_0"), ("c", ">=1")]


def test_tops_are_needed_by_nobody() -> None:
    packages = [package("a", "1", depends=("b",)), package("b", "1", depends=("b",))]
    assert tops(packages) == {"a"}
    assert tops([package("a", "1")]) == frozenset()


@given(locks(), locks())
def test_every_move_has_a_reason(old: Lock, new: Lock) -> None:
    before, after = old.for_platform("linux-64"), new.for_platform("linux-64")
    moved = {item.name for item in before} | {item.name for item in after}
    told = causes(before, after, moved, {"a"}, RULES)
    assert told.keys() == moved
    assert all(cause.root in moved for cause in told.values() if cause.why == "because")


def test_locks_are_given_as_locks() -> None:
    assert lock(package("a", "1")).platforms == ("linux-64",)
