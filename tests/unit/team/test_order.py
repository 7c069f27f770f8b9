"""Packages in the order they can be linked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.exported import conda
from hypothesis import given
from hypothesis import strategies as st

from envforge.model.lock import LockedPackage
from envforge.team.order import dependencies_first, needed_names, roots

NAMES = "abcdefgh"


def graph(edges: dict[str, set[str]]) -> list[LockedPackage]:
    return [conda(name, depends=tuple(sorted(edges.get(name, ())))) for name in NAMES]


@given(st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from(NAMES)), max_size=8))
def test_what_is_needed_comes_first(edges: dict[str, set[str]]) -> None:
    """Wherever the graph has no circle; and every package comes once, circles or not."""
    earlier_only = {name: {need for need in needs if need < name} for name, needs in edges.items()}
    ordered = [item.name for item in dependencies_first(graph(earlier_only))]

    assert sorted(ordered) == list(NAMES)
    for name, needs in earlier_only.items():
        assert all(ordered.index(need) < ordered.index(name) for need in needs)
    assert sorted(item.name for item in dependencies_first(graph(edges))) == list(NAMES)


@given(st.permutations(graph({"a": {"c", "b"}, "c": {"d"}, "d": {"a"}})))
def test_the_order_given_makes_no_difference(packages: list[LockedPackage]) -> None:
    assert dependencies_first(packages) == dependencies_first(sorted(packages))


def test_ranges_and_what_is_not_there_are_no_obstacle() -> None:
    packages = [conda("b", depends=("a >=1,<2 h0_0", "__glibc >=2.17", "gone")), conda("a")]

    assert [item.name for item in dependencies_first(packages)] == ["a", "b"]


def test_roots_are_what_nobody_needs() -> None:
    assert [item.name for item in roots(graph({"a": {"b", "c"}, "d": {"a"}}))] == list("defgh")


@pytest.mark.parametrize(
    ("manager", "spec", "name"),
    [
        ("conda", "python >=3.11,<3.12.0a0", "python"),
        ("conda", "python>=3.8", "python"),
        ("conda", "conda-forge::libblas[version='>=3',build=*mkl]", "libblas"),
        ("conda", "_openmp_mutex", "_openmp_mutex"),
        ("pip", "Typing_Extensions[x,y]>=4 ; python_version < '3.12'", "typing-extensions"),
        ("pip", "zope.interface (>=5)", "zope-interface"),
    ],
)
def test_the_name_of_what_is_needed(manager: str, spec: str, name: str) -> None:
    item = replace(conda("a"), manager=manager, depends=(spec,))  # type: ignore[arg-type]

    assert list(needed_names(item)) == [name]


def test_what_names_nothing_is_passed_over() -> None:
    assert list(needed_names(conda("a", depends=("", ">=3")))) == []
