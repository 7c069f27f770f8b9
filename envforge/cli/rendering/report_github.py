"""A verification on GitHub: annotations of a workflow run, and its summary.

Workflow commands as in GitHub's documentation, "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Final

from envforge.cli.rendering.report_text import problems_of
from envforge.formats.text.printable import clean, one_line
from envforge.model.finding import Report

_DATA: Final = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY: Final = {**_DATA, ":": "%3A", ",": "%2C"}
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")


def workflow_commands(reports: Sequence[Report]) -> Iterator[str]:
    """`::error title=…::…` for what fails, `::warning` for what does not."""
    for report in reports:
        for check, message, remedy in problems_of(report):
            yield _command("error", report, check, message, remedy)
        for finding in report.findings:
            if finding.severity == "warning":
                yield _command("warning", report, finding.check, finding.message, finding.remedy)


def _command(kind: str, report: Report, check: str, message: str, remedy: str) -> str:
    title = _escaped(one_line(f"{report.subject}: {check}"), _PROPERTY)
    text = clean(message) + (f"\ndo: {clean(remedy)}" if remedy else "")
    return f"::{kind} title={title}::{_escaped(text, _DATA)}"


def _escaped(text: str, table: dict[str, str]) -> str:
    return "".join(table.get(letter, letter) for letter in text)


def fenced(text: str) -> str:
    """Text whose lines are no commands, whatever a file name in it looks like."""
    token = secrets.token_hex(16)
    return f"::stop-commands::{token}\n{text.rstrip()}\n::{token}::"


def summary(reports: Sequence[Report]) -> str:
    """Markdown for the page of the run."""
    return "".join(f"{line}\n" for report in reports for line in _section(report))


def _section(report: Report) -> Iterator[str]:
    verdict = "ok" if report.passed else "NOT OK"
    yield f"### {_plain(report.subject)}: {verdict} (level {report.level})"
    yield ""
    problems = [*problems_of(report)]
    warnings = [
        (item.check, item.message, item.remedy)
        for item in report.findings
        if item.severity == "warning"
    ]
    if problems or warnings:
        yield "| | check | found | do |"
        yield "|---|---|---|---|"
        yield from (_row("error", *row) for row in problems)
        yield from (_row("warning", *row) for row in warnings)
        yield ""
    if report.proven:
        yield "| proven | |"
        yield "|---|---|"
        yield from (
            f"| {_plain(name)} | {_plain(value)} |" for name, value in report.proven.items()
        )
        yield ""


def _row(kind: str, check: str, message: str, remedy: str) -> str:
    return f"| {kind} | {_plain(check)} | {_plain(message)} | {_plain(remedy)} |"


def _plain(text: str) -> str:
    """Text that Markdown takes for text."""
    return _MARKDOWN.sub(r"\\\1", one_line(text))
