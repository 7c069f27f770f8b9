"""How a verification looks: for a tired person, and as JSON.

Problems come first, each in one line with what to do below it; then what could not be proven;
then a small table of what was. Every meaning stands there as a word, colour only repeats it.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from envforge.model.finding import Finding, Outcome, Report

if TYPE_CHECKING:
    from rich.console import Console

    from envforge.verify.check import Check

SCHEMA: Final = "envforge.verify/1"
_WIDEST: Final = 100
"""Columns used at most: longer lines are hard to read."""

Line = tuple[str, str]
"""Style (a word of rich), and text."""


# --- JSON -----------------------------------------------------------------------------------


def as_document(report: Report) -> dict[str, Any]:
    """One report as plain data."""
    return {
        "schema": SCHEMA,
        "subject": report.subject,
        "prefix": report.prefix,
        "level": report.level,
        "require_gpu": report.require_gpu,
        "passed": report.passed,
        "findings": [asdict(item) for item in report.findings],
        "unproven": [{"check": o.check, "reason": o.detail} for o in report.unproven],
        "proven": dict(report.proven),
        "outcomes": [
            {"check": o.check, "claim": o.claim, "verdict": o.verdict, "detail": o.detail}
            for o in report.outcomes
        ],
    }


def as_json(*reports: Report) -> str:
    """All reports of one run, and whether all passed."""
    return _json_text(reports)


def _json_text(reports: Sequence[Report]) -> str:
    document = {
        "schema": SCHEMA,
        "passed": all(item.passed for item in reports),
        "reports": [as_document(item) for item in reports],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


# --- text -----------------------------------------------------------------------------------


def show(reports: Sequence[Report], *, as_json: bool) -> None:
    """Write reports to standard output."""
    if as_json:
        click.echo(_json_text(reports))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for index, report in enumerate(reports):
        if index:
            console.print()
        print_report(report, console)


def print_report(report: Report, console: Console) -> None:
    """Write one report; plain where the console is no terminal or NO_COLOR is set."""
    from rich.text import Text

    for style, text in lines(report, min(console.width, _WIDEST)):
        console.print(Text(text, style=style), soft_wrap=True)


def as_text(report: Report, *, width: int = 80) -> str:
    """One report without colour."""
    return "\n".join(text for _, text in lines(report, width)) + "\n"


def lines(report: Report, width: int) -> Iterator[Line]:
    """The report, line by line. Commands and paths are never wrapped: they are copied."""
    style, headline = _headline(report)
    yield from _wrapped(headline, width, style)
    if report.prefix:
        yield "dim", f"  {report.prefix}"
    for outcome in report.outcomes:
        if outcome.verdict == "crashed":
            yield "", ""
            yield from _crashed(outcome, width)
    for finding in report.findings:
        yield "", ""
        yield from _finding(finding, width)
    if report.unproven:
        yield "", ""
        yield "bold", "not proven"
        yield from _unproven(report.unproven, width)
    if report.proven:
        yield "", ""
        yield "bold", "proven"
        yield from _proven(report.proven, width)


def _headline(report: Report) -> Line:
    errors = sum(item.severity == "error" for item in report.findings)
    crashed = sum(item.verdict == "crashed" for item in report.outcomes)
    warnings = len(report.findings) - errors
    counts = [(errors, "problem"), (warnings, "warning"), (crashed, "crashed check")]
    said = ", ".join(f"{n} {noun}{'s' if n > 1 else ''}" for n, noun in counts if n)
    passed = sum(item.verdict == "passed" for item in report.outcomes)
    looked = f"{passed} checks passed at level {report.level}"
    style = "bold red" if not report.passed else "bold yellow" if warnings else "bold green"
    verdict = "ok" if report.passed else "NOT OK"
    return style, f"{report.subject}: {verdict} ({f'{said}, ' if said else ''}{looked})"


def _finding(finding: Finding, width: int) -> Iterator[Line]:
    style = "red" if finding.severity == "error" else "yellow"
    yield from _wrapped(f"{finding.severity}: {finding.message} [{finding.check}]", width, style)
    yield from _wrapped(f"seen: {finding.seen}", width, "", indent=2)
    yield from _wrapped(f"expected: {finding.expected}", width, "", indent=2)
    yield from _wrapped(f"why: {finding.why}", width, "dim", indent=2)
    yield "bold", f"  do: {finding.remedy}"


def _crashed(outcome: Outcome, width: int) -> Iterator[Line]:
    text = f"error: the check `{outcome.check}` crashed: {outcome.detail}"
    yield from _wrapped(text, width, "red")
    yield "bold", "  do: report this as a bug of envforge, or of the package that brings the check"


def _unproven(outcomes: Iterable[Outcome], width: int) -> Iterator[Line]:
    """Grouped by reason: one missing GPU leaves many claims unproven."""
    by_reason: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_reason.setdefault(outcome.detail, []).append(outcome)
    for reason, group in by_reason.items():
        yield from _wrapped(f"{reason}:", width, "yellow", indent=2)
        for outcome in group:
            yield from _wrapped(f"- {outcome.claim}", width, "", indent=4)


def _proven(rows: Mapping[str, str], width: int) -> Iterator[Line]:
    label_width = max(len(label) for label in rows)
    for label, value in rows.items():
        first, *more = textwrap.wrap(value, max(width - label_width - 4, 20)) or [""]
        yield "", f"  {label.ljust(label_width)}  {first}"
        for line in more:
            yield "", f"  {' ' * label_width}  {line}"


def _wrapped(text: str, width: int, style: str, indent: int = 0) -> Iterator[Line]:
    blanks = " " * indent
    for line in textwrap.wrap(
        text,
        width,
        initial_indent=blanks,
        subsequent_indent=f"{blanks}  ",
        break_long_words=False,
        break_on_hyphens=False,
    ):
        yield style, line


# --- the table of checks --------------------------------------------------------------------


def show_checks(checks: Mapping[str, Check], *, as_json: bool) -> None:
    """Every check: id, level, whether it can fail a verification, and its claim."""
    if as_json:
        rows = [
            {"check": name, "level": item.level, "severity": item.severity, "claim": item.claim}
            for name, item in checks.items()
        ]
        click.echo(json.dumps({"schema": "envforge.checks/1", "checks": rows}, indent=2))
        return
    widest = max((len(name) for name in checks), default=0)
    for name, item in checks.items():
        mark = " (warning)" if item.severity == "warning" else ""
        click.echo(f"{name.ljust(widest)}  {item.level.ljust(6)}  {item.claim}{mark}")
