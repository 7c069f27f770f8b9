"""Ranges and versions of conda and of wheels."""

from __future__ import annotations

import packaging.version
import pytest
from fakes.conda_solver import package
from fakes.locks import wheel
from hypothesis import given
from hypothesis import strategies as st
from rattler import Version, VersionSpec

from envforge.adapters.version_rules import RealVersionRules

RULES = RealVersionRules()


@pytest.mark.parametrize(
    ("spec", "version", "fits"),
    [
        ("", "1.0", True),
        ("*", "1.0", True),
        (">=1.2,<2.0a0", "1.9", True),
        (">=1.2,<2.0a0", "2.0", False),
        ("1.2.*", "1.2.9", True),
        ("3.10.*|3.11.*", "3.12", False),
        (">=2024a", "2023c", False),
        ("=1.2", "1.2.3", True),
        ("range!", "1.0", None),
        (">=1", "a b", None),
    ],
)
def test_conda(spec: str, version: str, fits: bool | None) -> None:
    assert RULES.fits(spec, package("x", version)) is fits


def test_builds_are_globs() -> None:
    item = package("x", "1.0", "py310_cuda118_0")
    assert RULES.fits("1.0 *cuda*", item)
    assert RULES.fits("* *cpu*", item) is False


@pytest.mark.parametrize(
    ("spec", "version", "fits"),
    [
        ("", "1.0", True),
        (">=1,<2", "1.5", True),
        (">=1,<2", "2.0rc1", False),
        (">=1", "2.0rc1", True),
        ("~=1.4", "2", False),
        ("(>=1)", "1", True),
        ("=1", "1", None),
        (">=1", "not a version", None),
    ],
)
def test_wheels(spec: str, version: str, fits: bool | None) -> None:
    assert RULES.fits(spec, wheel("x", version)) is fits


@pytest.mark.parametrize(
    ("version", "than", "manager", "newer"),
    [
        ("2024a", "2023c", "conda", True),
        ("1.10", "1.9", "conda", True),
        ("1.0", "1.0.1", "pip", False),
        ("1.0.post1", "1.0", "pip", True),
        ("a b", "1", "conda", None),
        ("1", "2024a-x", "pip", None),
    ],
)
def test_newer(version: str, than: str, manager: str, newer: bool | None) -> None:
    assert RULES.is_newer(version, than, manager=manager) is newer


_PLAIN = st.lists(st.sampled_from([0, 1, 2, 3, 10]), min_size=1, max_size=4).map(
    lambda numbers: ".".join(map(str, numbers))
)
_RANGE = st.builds(
    lambda sign, version, end: f"{sign}{version}{end}",
    st.sampled_from([">=", "<=", "==", "<", ">", ""]),
    _PLAIN,
    st.sampled_from(["", "", "a0"]),
)


@given(_PLAIN, st.lists(_RANGE, min_size=1, max_size=2).map(",".join))
def test_plain_versions_are_judged_as_rattler_judges_them(version: str, spec: str) -> None:
    wanted = VersionSpec(spec).matches(Version(version))
    assert RULES.fits(spec, package("x", version)) is wanted


@given(_PLAIN, _PLAIN)
def test_plain_versions_have_the_order_that_both_give_them(one: str, other: str) -> None:
    newer = Version(one) > Version(other)
    assert RULES.is_newer(one, other, manager="conda") is newer
    assert (packaging.version.Version(one) > packaging.version.Version(other)) is newer
