"""What a verification came to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from envforge.model.finding import Finding, Outcome, Report, Unseen

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


def test_what_was_asked_for_must_be_answered() -> None:
    """Unproven is no failure in itself; of a check that was named, it is."""
    found = report(PASSED, replace(outcome("unproven"), check="y"))
    assert found.passed
    assert replace(found, asked=("x",)).passed
    assert not replace(found, asked=("x", "y")).passed
    assert [item.check for item in replace(found, asked=("x", "y")).unanswered] == ["y"]
    assert replace(report(outcome("inapplicable")), asked=("x",)).passed


def test_what_had_to_be_looked_at_and_was_not() -> None:
    unseen = Unseen(what="probe", reason="it hung", remedy="see to it")
    assert not replace(report(PASSED), unseen=(unseen,)).passed


def test_errors_come_first() -> None:
    second = replace(ERROR, message="second")
    found = report(outcome("failed", WARNING, ERROR), outcome("failed", second))

    assert found.findings == (ERROR, second, WARNING)


def test_what_could_not_be_proven() -> None:
    unproven = outcome("unproven")

    crashed = outcome("crashed")
    assert report(PASSED, unproven, crashed).unproven == (unproven,)
    assert report(PASSED, unproven, crashed).crashed == (crashed,)
