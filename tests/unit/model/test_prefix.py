"""Prefixes and transactions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.installing import as_installed, conda_package

from envforge.model.prefix import InstallPlan, PrefixState

PACKAGE = conda_package("numpy")
EMPTY = InstallPlan(prefix=Path("/p"))


@pytest.mark.parametrize(
    "changes",
    [
        {"add": (PACKAGE,)},
        {"change": ((as_installed(PACKAGE), PACKAGE),)},
        {"remove": (as_installed(PACKAGE),)},
    ],
)
def test_a_plan_with_any_change_is_not_empty(changes: dict[str, object]) -> None:
    assert EMPTY.is_empty
    assert replace(EMPTY, keep=9).is_empty
    assert not replace(EMPTY, **changes).is_empty  # type: ignore[arg-type]


def test_the_words_for_states_are_those_of_json() -> None:
    assert [state.value for state in PrefixState] == [
        "absent",
        "incomplete",
        "installed",
        "foreign",
    ]
