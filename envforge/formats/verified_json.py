"""What is remembered of a verification, and what `verify --json` printed, read for the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final, cast

from envforge.errors import InvalidFile
from envforge.formats.text.printable import printable_document
from envforge.model.finding import LEVELS, Finding, Level, Report
from envforge.model.verified import Verified

REMEMBERED: Final = "envforge.verified/1"
REPORTS: Final = "envforge.verify/1"
"""The answer of `envforge verify --json`."""
_SHOWN: Final = 200
"""Characters of a stranger's file that an error repeats."""
_MISTAKES: Final = (
    *(KeyError, TypeError, ValueError, AttributeError),
    *(OverflowError, RecursionError),  # numbers and brackets without end
)


def of_report(report: Report, *, at: str, lock: str) -> Verified:
    """What is worth remembering."""
    verdicts = [item.verdict for item in report.outcomes]
    return Verified(
        subject=report.subject,
        level=report.level,
        passed=report.passed,
        findings=(*_unseen(report), *report.findings),
        passed_checks=verdicts.count("passed"),
        unproven_checks=verdicts.count("unproven"),
        proven=dict(report.proven),
        at=at,
        lock=lock,
    )


def _unseen(report: Report) -> tuple[Finding, ...]:
    hidden = [(str(item.what), item.reason, item.remedy) for item in report.unseen]
    hidden += [(item.check, f"the check crashed: {item.detail}", "") for item in report.crashed]
    hidden += [(item.check, f"could not look: {item.detail}", "") for item in report.unanswered]
    return tuple(_problem(what, message, remedy) for what, message, remedy in hidden)


def _problem(what: str, message: str, remedy: str) -> Finding:
    return Finding(check=what, message=message, seen="", expected="", remedy=remedy)


def write(found: Verified) -> str:
    """The text of a file."""
    document = printable_document({"schema": REMEMBERED, **asdict(found)})
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def read(text: str, path: str) -> tuple[Verified, ...]:
    """What a file holds: one that is remembered, or all reports of `verify --json`.

    Raises:
        InvalidFile: it is neither.
    """
    try:
        document = json.loads(text)
        schema = document.get("schema")
        if schema == REMEMBERED:
            return (_remembered(document),)
        if schema == REPORTS:
            return tuple(_reported(item) for item in document["reports"])
    except _MISTAKES as error:
        seen = f"{type(error).__name__}: {error}"[:_SHOWN]
        mistake = f"is no answer of `envforge verify --json` ({seen})"
        raise InvalidFile(path=path, mistakes=(mistake,)) from error
    mistake = f"schema: is `{str(schema)[:_SHOWN]}`; `{REPORTS}` is read"
    raise InvalidFile(path=path, mistakes=(mistake,))


def _remembered(document: Mapping[str, Any]) -> Verified:
    return replace(
        _common(document),
        passed_checks=int(document["passed_checks"]),
        unproven_checks=int(document["unproven_checks"]),
        at=str(document["at"]),
        lock=str(document["lock"]),
    )


def _reported(document: Mapping[str, Any]) -> Verified:
    found = _common(document)
    verdicts = [(item["verdict"], item) for item in document["outcomes"]]
    hidden = [(str(i["what"]), str(i["reason"]), str(i["remedy"])) for i in document["unseen"]]
    hidden += [
        (str(item["check"]), f"the check crashed: {item['detail']}", "")
        for verdict, item in verdicts
        if verdict == "crashed"
    ]
    asked = set(document["asked"])
    hidden += [
        (str(item["check"]), f"could not look: {item['reason']}", "")
        for item in document["unproven"]
        if item["check"] in asked
    ]
    return replace(
        found,
        findings=(*(_problem(*item) for item in hidden), *found.findings),
        passed_checks=sum(verdict == "passed" for verdict, _ in verdicts),
        unproven_checks=sum(verdict == "unproven" for verdict, _ in verdicts),
    )


def _common(document: Mapping[str, Any]) -> Verified:
    level = document["level"]
    if level not in LEVELS:
        raise ValueError(f"level `{level}`")
    return Verified(
        subject=str(document["subject"]),
        level=cast("Level", level),
        passed=document["passed"] is True,
        findings=tuple(map(_finding, document["findings"])),
        proven={str(name): str(value) for name, value in document["proven"].items()},
    )


def _finding(document: Mapping[str, Any]) -> Finding:
    return Finding(
        check=str(document["check"]),
        message=str(document["message"]),
        seen=str(document["seen"]),
        expected=str(document["expected"]),
        why=str(document["why"]),
        remedy=str(document["remedy"]),
        source=str(document["source"]),
        severity="warning" if document["severity"] == "warning" else "error",
    )
