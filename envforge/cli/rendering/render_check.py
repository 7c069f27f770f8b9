"""What `check` answers, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from envforge.formats.text.printable import one_line
from envforge.model.checked import LockFinding, LockReport
from envforge.model.wording import counted


def show(reports: Sequence[LockReport]) -> None:
    """A line an environment, and below it what is wrong with the command that mends it."""
    for report in reports:
        word, color = _verdict(report)
        head = f"{click.style(word, fg=color, bold=True)} {one_line(report.name)}"
        click.echo(f"{head}: {_contents(report)}")
        for file in report.fixed:
            click.echo(f"  mended {file}")
        for number, finding in enumerate(report.findings):
            following = report.findings[number + 1 : number + 2]
            is_last = not following or following[0].remedy != finding.remedy
            _show_finding(finding, with_remedy=is_last)
        for check, reason in report.unproven:
            click.echo(f"  not looked at: {check}: {one_line(reason)}")


def _verdict(report: LockReport) -> tuple[str, str]:
    if report.is_stale:
        return "stale", "red"
    if not report.passed:
        return "not ok", "red"
    return ("ok", "yellow") if report.findings or report.unproven else ("ok", "green")


def _contents(report: LockReport) -> str:
    if not report.packages:
        return "nothing is locked"
    return f"{counted(report.packages, 'package')} for {', '.join(report.platforms)}"


def _show_finding(finding: LockFinding, *, with_remedy: bool) -> None:
    """Findings in a row that one command mends name it once."""
    file = "" if finding.file == "conda-lock.yml" else f"{finding.file}: "
    color = "red" if finding.severity == "error" else "yellow"
    label = click.style(f"{finding.severity}:", fg=color, bold=True)
    click.echo(f"  {label} {one_line(file + finding.message)} [{finding.check}]")
    if with_remedy:
        click.echo(f"    do: {one_line(finding.remedy)}")


def document(reports: Sequence[LockReport]) -> dict[str, Any]:
    """All of it; `current` is null where that could not be told."""
    return {
        "passed": all(report.passed for report in reports),
        "locks": [
            {
                "name": report.name,
                "path": str(report.path),
                "passed": report.passed,
                "current": _current(report),
                "packages": report.packages,
                "platforms": list(report.platforms),
                "findings": [asdict(finding) for finding in report.findings],
                "checked": list(report.checked),
                "unproven": [
                    {"check": check, "reason": reason} for check, reason in report.unproven
                ],
                "fixed": list(report.fixed),
                "archives": asdict(report.availability) if report.availability else None,
            }
            for report in reports
        ],
    }


def _current(report: LockReport) -> bool | None:
    if report.is_stale:
        return False
    return None if "lock-stale" in dict(report.unproven) or not report.packages else True
