"""Comparing the versions of our own tables."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envforge.matrix import versions

NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=3).map(lambda n: ".".join(map(str, n)))


@pytest.mark.parametrize(
    ("version", "condition", "expected"),
    [
        ("2.0.1", "", True),
        ("2.0.1", "2.0.1", True),
        ("2.0", "2.0.0", True),
        ("2.10.0", "<2.9", False),
        ("2.4.0", ">=2.3,<2.4.1", True),
        ("2.4.1", ">=2.3,<2.4.1", False),
        ("2.5.1", "<=2.5.1", True),
        ("2.5.1", ">2.5.1", False),
    ],
)
def test_matches(version: str, condition: str, *, expected: bool) -> None:
    assert versions.matches(version, condition) is expected


@pytest.mark.parametrize("condition", ["~=2.0", ">=", "2.x", ">=2.0 <3"])
def test_another_syntax_is_a_mistake_in_the_table(condition: str) -> None:
    with pytest.raises(ValueError, match="not a condition"):
        versions.matches("2.0", condition)


@settings(deadline=None)  # other tests share the processor
@given(NUMBERS, NUMBERS)
def test_a_version_is_below_or_not_below(version: str, bound: str) -> None:
    below = versions.matches(version, f"<{bound}")
    assert below is not versions.matches(version, f">={bound}")


def test_minor_and_spelling() -> None:
    assert versions.minor("2.10.1") == "2.10"
    assert versions.spell([]) == ""
    assert versions.spell(["a"]) == "a"
    assert versions.spell(["a", "b", "c"]) == "a, b and c"
    assert versions.spell(["a", "b"], conjunction="or") == "a or b"
