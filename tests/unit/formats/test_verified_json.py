"""What is remembered of a verification, and what `verify --json` printed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from fakes import reports

from envforge.cli.rendering import report_json
from envforge.errors import InvalidFile
from envforge.formats import verified_json
from envforge.model.finding import Report

ALL = [
    *(reports.HEALTHY, reports.BROKEN, reports.WARNED, reports.NO_GPU),
    *(reports.CRASHED, reports.UNSEEN, reports.ASKED),
]


@pytest.mark.parametrize("report", ALL, ids=range(len(ALL)))
def test_what_is_remembered_comes_back(report: Report) -> None:
    found = verified_json.of_report(report, at="2026-01-30T12:00:00Z", lock="a" * 64)
    [back] = verified_json.read(verified_json.write(found), "x")
    assert back == found
    assert verified_json.write(back) == verified_json.write(found)


@pytest.mark.parametrize("report", ALL, ids=range(len(ALL)))
def test_an_answer_of_verify_tells_the_same(report: Report) -> None:
    """A page that CI writes from `verify --json` is the page of the machine itself."""
    [read] = verified_json.read(report_json.as_json([report]), "x")
    assert read == verified_json.of_report(report, at="", lock="")


def test_several_reports() -> None:
    text = report_json.as_json([reports.HEALTHY, reports.BROKEN])
    assert [item.passed for item in verified_json.read(text, "x")] == [True, False]


def test_what_could_not_be_looked_at_is_a_problem() -> None:
    for report in (reports.CRASHED, reports.UNSEEN, reports.ASKED):
        found = verified_json.of_report(report, at="", lock="")
        assert not found.passed
        assert [item.severity for item in found.findings] == ["error"]


def test_hostile_names_can_be_written() -> None:
    found = verified_json.of_report(reports.HOSTILE, at="", lock="")
    [back] = verified_json.read(verified_json.write(found), "x")
    assert len(back.findings) == len(found.findings)
    assert replace(back, subject="", findings=(), proven={}).at == ""


_REMEMBERED = verified_json.of_report(reports.HEALTHY, at="2026-01-31T12:00:00Z", lock="ab")
_REPORT = report_json.as_document(reports.BROKEN)


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "3",
        "{}",
        "[" * 5000,
        {"schema": "envforge.verify/2", "reports": []},
        {"schema": "envforge.verify/1"},
        {"schema": "envforge.verify/1", "reports": 3},
        {"schema": "envforge.verify/1", "reports": [{}]},
        {"schema": "envforge.verify/1", "reports": [{**_REPORT, "level": "deep"}]},
        {"schema": "envforge.verify/1", "reports": [{**_REPORT, "findings": [3]}]},
        {"schema": "envforge.verify/1", "reports": [{**_REPORT, "proven": 3}]},
        {"schema": "envforge.verified/1", "subject": "x"},
        {**json.loads(verified_json.write(_REMEMBERED)), "passed_checks": float("inf")},
        {"schema": "x" * 10_000},
        {"schema": "envforge.verify/1", "reports": [{**_REPORT, "level": "x" * 10_000}]},
    ],
)
def test_anything_else_is_refused_with_its_place(document: Any) -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(InvalidFile, match=r"x\.json") as caught:
        verified_json.read(text, "x.json")
    assert len(str(caught.value)) < 500
