"""What a verification came to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from envforge.model.finding import Finding, Outcome, Report

ERROR = Finding(message="broken", seen="a", expected="b", remedy="c")
WARNING = replace(ERROR, message="odd", severity="warning")
PASSED = Outcome(check="x", claim="it works", verdict="passed")


def report(*outcomes: Outcome) -> Report:
    return Report(subject="p", prefix="/p", level="static", outcomes=outcomes)


def outcome(verdict: Any, *findings: Finding) -> Outcome:
    return replace(PASSED, verdict=verdict, findings=findings)


@pytest.mark.parametrize(
    ("found", "passes"),
    [
        (PASSED, True),
        (outcome("failed", WARNING), True),
        (outcome("failed", WARNING, ERROR), False),
        (outcome("crashed"), False),
        (outcome("unproven"), True),
        (outcome("inapplicable"), True),
    ],
)
def test_what_fails_a_verification(found: Outcome, passes: bool) -> None:
    """An error or a crash; what could not be proven is said instead."""
    assert report(PASSED, found).passed is passes


def test_errors_come_first() -> None:
    second = replace(ERROR, message="second")
    found = report(outcome("failed", WARNING, ERROR), outcome("failed", second))

    assert found.findings == (ERROR, second, WARNING)


def test_what_could_not_be_proven() -> None:
    unproven = outcome("unproven")

    assert report(PASSED, unproven, outcome("crashed")).unproven == (unproven,)
