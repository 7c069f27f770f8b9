"""Requirements against what is installed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.facts import prefix

from envforge.model.prefix import InstalledPackage
from envforge.verify.facts import Distribution, PackageFacts, PrefixFacts
from envforge.verify.requirements import meets, python_of, unmet

FOLDER = "lib/python3.12/site-packages/a-1.dist-info"


def holding(*distributions: Distribution, **changes: object) -> PrefixFacts:
    facts = prefix(packages=PackageFacts(distributions=distributions))
    return replace(facts, **changes)  # type: ignore[arg-type]


def a(*requires: str, version: str = "1.0") -> Distribution:
    return Distribution(name="a", version=version, requires=requires, folder=FOLDER)


B = Distribution(name="b-c", version="2.5")


@pytest.mark.parametrize(
    "requirement",
    [
        "b_c",
        "B.C>=2,<3",
        "b-c==2.5",
        "missing; sys_platform == 'darwin'",
        "missing; python_full_version < '3.9.2'",
        "missing; extra == 'x'",
        "missing; platform_machine == 'aarch64'",
        "b-c @ https://example.org/b_c-2.5-py3-none-any.whl",
        "not a requirement at all",
    ],
)
def test_requirements_that_are_met_or_do_not_apply(requirement: str) -> None:
    assert unmet(holding(a(requirement), B), "linux-64") == ()


@pytest.mark.parametrize(
    ("requirement", "found"),
    [
        ("b-c>=3", "2.5"),
        ("B_C!=2.5", "2.5"),
        ("missing", None),
        ("missing; sys_platform == 'linux' and python_version >= '3.10'", None),
    ],
)
def test_requirements_that_are_not_met(requirement: str, found: str | None) -> None:
    [problem] = unmet(holding(a(requirement), B), "linux-64")

    assert (problem.package, problem.found) == ("a", found)
    assert not problem.from_conda


def test_only_some_are_looked_at() -> None:
    """By who states them, and by what they need, in any spelling of names."""
    facts = holding(a("b-c>=3", "missing"), B)

    assert [item.needs for item in unmet(facts, "linux-64", needs="missing")] == ["missing"]
    assert [item.needs for item in unmet(facts, "linux-64", needs="b-c")] == ["b-c"]
    assert unmet(facts, "linux-64", of=("b-c",)) == ()


def test_markers_are_judged_for_the_platform() -> None:
    facts = holding(a("missing; platform_machine == 'aarch64'"))

    assert unmet(facts, "linux-64") == ()
    assert len(unmet(facts, "linux-aarch64")) == 1


@pytest.mark.parametrize(
    ("version", "specifier", "expected"),
    [
        ("2.7.1+cu126", "==2.7.1", True),
        ("3.0.0rc1", ">=2", True),
        ("1.0", "<1", False),
        ("not-a-version", "<1", True),
        ("1.0", "nonsense", True),
    ],
)
def test_versions_in_ranges(version: str, specifier: str, *, expected: bool) -> None:
    assert meets(version, specifier) is expected


def test_which_python_the_prefix_has() -> None:
    """conda's own record, else the folders."""
    python = InstalledPackage(name="python", manager="conda", version="3.10.14")

    assert python_of(holding(a(), conda=(python,))) == "3.10.14"
    assert python_of(holding(a(), conda=())) == "3.12"
    assert python_of(holding(conda=(), torch=None)) is None
