"""A transaction, told to a person."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fakes.installing import as_installed, conda_package, wheel

from envforge.model.changes import describe_changes
from envforge.model.prefix import InstallPlan

NOTHING = InstallPlan(prefix=Path("/p"), keep=7)
NUMPY = conda_package("numpy", "2.0.0", "py312_0")
OLD = as_installed(conda_package("numpy", "1.26.4", "py312_0"))


def test_nothing_to_do() -> None:
    assert describe_changes(NOTHING) == ["nothing to do: 7 packages are as locked"]


def test_every_kind_of_change_and_what_stays() -> None:
    plan = replace(NOTHING, add=(NUMPY, wheel("einops")), change=((OLD, NUMPY),), remove=(OLD,))

    assert describe_changes(plan) == [
        "+ numpy 2.0.0 py312_0",
        "+ einops 1.0",
        "~ numpy 1.26.4 -> 2.0.0",
        "- numpy 1.26.4",
        "7 packages stay",
    ]
    assert describe_changes(replace(plan, keep=0))[-1] == "- numpy 1.26.4"


def test_a_change_of_build_and_a_repair_are_told_apart() -> None:
    other_build = as_installed(replace(NUMPY, build="py312_1"))
    same = as_installed(NUMPY)
    plan = replace(NOTHING, change=((other_build, NUMPY), (same, NUMPY)), keep=0)

    assert describe_changes(plan) == [
        "~ numpy 2.0.0 py312_1 -> py312_0",
        "~ numpy 2.0.0 (repaired)",
    ]


def test_many_changes_are_counted() -> None:
    """Twelve are told; a first install has hundreds."""
    names = [conda_package(f"p{number:02}") for number in range(20)]
    lines = describe_changes(replace(NOTHING, add=tuple(names)))

    assert lines[0] == "+ p00 1.0 0"
    assert lines[11:] == ["+ p11 1.0 0", "... and 8 more changes", "7 packages stay"]
    assert len(describe_changes(replace(NOTHING, add=tuple(names[:12]), keep=0))) == 12
