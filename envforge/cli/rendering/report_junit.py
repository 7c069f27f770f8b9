"""A verification as JUnit XML, which CI systems show beside the tests.

Jenkins' schema (xunit-plugin, `junit-10.xsd`) and Ant's (windyroad/JUnit-Schema, `JUnit.xsd`) do
not agree; what is written here is valid by both: attributes that only one of them asks for are
there, and the order of elements is Ant's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from envforge.formats.text.printable import printable
from envforge.model.finding import Finding, Outcome, Report

_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold in any spelling (section 2.2)."""


def as_junit(reports: Sequence[Report], *, now: float | None = None) -> str:
    """A test suite a report, a test case a check.

    Args:
        reports: of one run.
        now: seconds since the epoch, for the time stamp that the schema asks for; None: now.
    """
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    suites = [line for index, item in enumerate(reports) for line in _suite(item, index, stamp)]
    return "\n".join(
        ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>", *suites, "</testsuites>", ""]
    )


def _suite(report: Report, index: int, stamp: str) -> Iterator[str]:
    cases = [*_cases(report)]
    counts = {kind: sum(f"<{kind}" in case for case in cases) for kind in _COUNTED}
    attributes = {
        "id": index,
        "name": report.subject,
        "package": "envforge.verify",
        "timestamp": stamp,
        "hostname": "localhost",
        "tests": len(cases),
        "failures": counts["failure"],
        "errors": counts["error"],
        "skipped": counts["skipped"],
        "time": 0,
    }
    yield f"  <testsuite{_attributes(**attributes)}>"
    yield "    <properties>"
    for name, value in {"level": report.level, **report.proven}.items():
        yield f"      <property{_attributes(name=name, value=value)}/>"
    yield "    </properties>"
    yield from cases
    warned = [item for item in report.findings if item.severity == "warning"]
    yield f"    <system-out>{_text(''.join(_told(item) for item in warned))}</system-out>"
    yield "    <system-err></system-err>"
    yield "  </testsuite>"


_COUNTED: Final = ("failure", "error", "skipped")


def _cases(report: Report) -> Iterator[str]:
    for outcome in report.outcomes:
        yield _case(report, outcome.check, _ending(outcome, asked=outcome.check in report.asked))
    for unseen in report.unseen:
        ending = _element("error", unseen.reason, "unseen", f"do: {unseen.remedy}")
        yield _case(report, f"{unseen.what}-unseen", ending)


def _case(report: Report, name: str, ending: str) -> str:
    attributes = _attributes(name=name, classname=f"envforge.verify.{report.subject}", time=0)
    if not ending:
        return f"    <testcase{attributes}/>"
    return f"    <testcase{attributes}>\n      {ending}\n    </testcase>"


def _ending(outcome: Outcome, *, asked: bool) -> str:
    errors = [item for item in outcome.findings if item.severity == "error"]
    if outcome.verdict == "crashed":
        return _element("error", outcome.detail, "crashed", outcome.claim)
    if errors:
        text = "".join(_told(item) for item in errors)
        return _element("failure", errors[0].message, outcome.check, text)
    if outcome.verdict == "unproven" and asked:
        return _element("error", outcome.detail, "unproven", outcome.claim)
    if outcome.verdict == "unproven":
        return f"<skipped{_attributes(message=outcome.detail)}/>"
    if outcome.verdict == "inapplicable":
        return f"<skipped{_attributes(message=f'does not apply: {outcome.detail}')}/>"
    return ""


def _element(kind: str, message: str, type_: str, text: str) -> str:
    return f"<{kind}{_attributes(message=message, type=type_)}>{_text(text)}</{kind}>"


def _told(finding: Finding) -> str:
    rows = ("message", "seen", "expected", "why", "remedy", "source")
    return f"{finding.check}\n" + "".join(f"{row}: {getattr(finding, row)}\n" for row in rows)


def _attributes(**values: object) -> str:
    return "".join(f" {name}={quoteattr(_allowed(str(item)))}" for name, item in values.items())


def _text(text: str) -> str:
    return escape(_allowed(text))


def _allowed(text: str) -> str:
    return _NO_XML.sub("?", printable(text))
