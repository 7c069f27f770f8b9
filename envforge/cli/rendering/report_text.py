"""A verification as text, for a tired person.

Problems first, each in one line with what to do below it; then a small table of what was proven;
then what was not, by reason. Every meaning stands there as a word, colour only repeats it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import click

from envforge.formats.text.printable import clean, one_line
from envforge.model.finding import Finding, Outcome, Report, Unseen
from envforge.model.wording import counted

Line = tuple[str, str]
"""A word for how it looks, one of `STYLES`, and text."""

STYLES: Final[Mapping[str, Mapping[str, object]]] = {
    "": {},
    "title": {"bold": True},
    "good": {"fg": "green", "bold": True},
    "fair": {"fg": "yellow", "bold": True},
    "bad": {"fg": "red", "bold": True},
    "error": {"fg": "red"},
    "warning": {"fg": "yellow"},
    "command": {"bold": True},
    "aside": {"dim": True},
}


def coloured(line: Line) -> str:
    """The line for a terminal."""
    style, text = line
    return click.style(text, **STYLES[style]) if STYLES[style] and text else text  # type: ignore[arg-type]


def as_text(report: Report, *, width: int = 80, verbose: bool = False) -> str:
    """One report without colour."""
    return "\n".join(text for _, text in lines(report, width, verbose=verbose)) + "\n"


def lines(report: Report, width: int, *, verbose: bool = False) -> Iterator[Line]:
    """The report, line by line. Commands and paths are never wrapped: they are copied."""
    yield from _wrapped(_headline(report), width, _mood(report))
    if report.prefix and report.prefix != report.subject:
        yield "aside", f"  {one_line(report.prefix)}"
    yield from _problems(report, width, verbose=verbose)
    if report.proven:
        yield "", ""
        yield "title", "proven"
        yield from _proven(report.proven, width)
    if report.unproven:
        yield "", ""
        yield "title", "not proven"
        yield from _unproven(report.unproven, width, verbose=verbose)
    if verbose:
        yield from _the_rest(report, width)
    elif report.findings:
        yield "", ""
        more = f"why: envforge explain {report.findings[0].check}; -v shows what was seen"
        yield from _wrapped(more, width, "aside")


def _mood(report: Report) -> str:
    if not report.passed:
        return "bad"
    return "fair" if report.findings else "good"


def _headline(report: Report) -> str:
    errors = sum(item.severity == "error" for item in report.findings)
    counts = [
        (errors, "problem", ""),
        (len(report.findings) - errors, "warning", ""),
        (len(report.crashed), "crashed check", ""),
        (len(report.unanswered), "check", " without an answer"),
    ]
    said = [f"{counted(n, noun)}{rest}" for n, noun, rest in counts if n]
    if report.unseen and not errors:
        said.insert(0, "could not look")
    passed = sum(item.verdict == "passed" for item in report.outcomes)
    said.append(f"{counted(passed, 'check')} passed at level {report.level}")
    verdict = "ok" if report.passed else "NOT OK"
    return f"{report.subject}: {verdict} ({', '.join(said)})"


# --- problems -------------------------------------------------------------------------------


def _problems(report: Report, width: int, *, verbose: bool) -> Iterator[Line]:
    # What could not be looked at is told by a finding as well, most of the time.
    if not any(item.severity == "error" for item in report.findings):
        for unseen in report.unseen:
            yield from _problem(f"error: {unseen.reason}", unseen.remedy, width)
    for outcome in report.crashed:
        message = f"error: the check `{outcome.check}` crashed: {outcome.detail}"
        yield from _problem(message, _REPORT_IT, width)
    for outcome in report.unanswered:
        message = f"error: the check `{outcome.check}` could not look: {outcome.detail}"
        yield from _problem(message, "leave it out, or give it what it needs", width)
    for finding in report.findings:
        message = f"{finding.severity}: {finding.message} [{finding.check}]"
        yield from _problem(message, finding.remedy, width, finding.severity)
        if verbose:
            yield from _evidence(finding, width)


_REPORT_IT: Final = "report this as a bug of envforge, or of the package that brings the check"


def _problem(message: str, remedy: str, width: int, style: str = "error") -> Iterator[Line]:
    yield "", ""
    yield from _wrapped(message, width, style)
    yield "command", f"  do: {one_line(remedy)}"


def _evidence(finding: Finding, width: int) -> Iterator[Line]:
    for label in ("seen", "expected", "why", "source"):
        yield from _wrapped(f"{label}: {getattr(finding, label)}", width, "aside", indent=2)


# --- what was proven, and what was not ------------------------------------------------------


def _proven(rows: Mapping[str, str], width: int) -> Iterator[Line]:
    label_width = max(len(label) for label in rows)
    for label, value in rows.items():
        room = max(width - label_width - 4, 20)
        first, *more = textwrap.wrap(one_line(value), room) or [""]
        yield "", f"  {one_line(label).ljust(label_width)}  {first}"
        for line in more:
            yield "", f"  {' ' * label_width}  {line}"


_SHOWN: Final = 5
"""Reasons told when nobody asks for more: those that leave most unproven."""


def _unproven(outcomes: Sequence[Outcome], width: int, *, verbose: bool) -> Iterator[Line]:
    """By reason: one missing GPU leaves many claims unproven."""
    by_reason: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_reason.setdefault(outcome.detail, []).append(outcome)
    groups = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    if verbose:
        for reason, group in groups:
            yield from _wrapped(f"{reason}:", width, "warning", indent=2)
            for outcome in group:
                yield from _wrapped(f"- {outcome.claim} [{outcome.check}]", width, "", indent=4)
        return
    for reason, group in groups[:_SHOWN]:
        yield "", f"  {_shortened(reason, [item.check for item in group], width - 2)}"
    left = sum(len(group) for _, group in groups[_SHOWN:])
    if left:
        yield "aside", f"  and {counted(left, 'check')} more, each for its own reason (-v)"


def _shortened(reason: str, names: Sequence[str], width: int) -> str:
    """As many names as one line takes, and how many more there are."""
    reason = f"{one_line(reason)}: "
    for shown in range(len(names), 0, -1):
        left = len(names) - shown
        more = f" and {left} more" if left else ""
        text = f"{reason}{', '.join(names[:shown])}{more}"
        if len(text) <= width:
            return text
    count = counted(len(names), "check")
    return textwrap.shorten(f"{reason}{count}", width, placeholder=" …")


def _the_rest(report: Report, width: int) -> Iterator[Line]:
    """The checks that have nothing to say, for who wants to see that they ran."""
    for verdict, title in (("passed", "passed"), ("inapplicable", "does not apply")):
        names = [item.check for item in report.outcomes if item.verdict == verdict]
        if names:
            yield "", ""
            yield "title", title
            yield from _wrapped(", ".join(names), width, "", indent=2)


def _wrapped(text: str, width: int, style: str, indent: int = 0) -> Iterator[Line]:
    blanks = " " * indent
    for line in textwrap.wrap(
        clean(text),
        width,
        initial_indent=blanks,
        subsequent_indent=f"{blanks}  ",
        break_long_words=False,
        break_on_hyphens=False,
    ):
        yield style, line


def problems_of(report: Report) -> Iterable[tuple[str, str, str]]:
    """Everything that makes a report fail: id, one sentence, what to do."""
    for finding in report.findings:
        if finding.severity == "error":
            yield finding.check, finding.message, finding.remedy
    for outcome in report.crashed:
        yield outcome.check, f"the check crashed: {outcome.detail}", _REPORT_IT
    for outcome in report.unanswered:
        yield outcome.check, f"the check could not look: {outcome.detail}", ""
    for unseen in report.unseen:
        yield _name(unseen), unseen.reason, unseen.remedy


def _name(unseen: Unseen) -> str:
    return f"{unseen.what}-unseen"
