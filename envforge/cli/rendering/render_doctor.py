"""What `doctor` found, as one page and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

import click

from envforge.cli.rendering.plain_text import echo
from envforge.cli.rendering.render_health import finding_lines
from envforge.formats.text.printable import one_line, printable_document
from envforge.model.checkup import Checkup, Topic
from envforge.model.finding import Outcome
from envforge.model.wording import counted, listed

_WIDTH: Final = 80
_LABEL: Final = 24


def document(checkup: Checkup) -> dict[str, Any]:
    """All of it."""
    found: dict[str, Any] = printable_document(
        {"passed": checkup.passed, "topics": [_topic(item) for item in checkup.topics]}
    )
    return found


def _topic(topic: Topic) -> dict[str, Any]:
    return {
        "topic": topic.name,
        "facts": dict(topic.facts),
        "checks": [_outcome(item) for item in topic.outcomes],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {**asdict(outcome), "findings": [asdict(item) for item in outcome.findings]}


def show(checkup: Checkup) -> None:
    """What is wrong first, with what mends it; then a line a topic; then what was not seen."""
    for line in text(checkup):
        echo(line)


def text(checkup: Checkup) -> Iterator[str]:
    """The same, line by line."""
    yield from _found(checkup, "error")
    for topic in checkup.topics:
        for outcome in topic.outcomes:
            if outcome.verdict == "crashed":
                yield from _wrapped(f"error: {topic.name} cannot be looked at: {outcome.detail}")
                yield ""
    yield from _found(checkup, "warning")
    for topic in checkup.topics:
        yield from _of_topic(topic)
    unseen = [(topic, item) for topic in checkup.topics for item in topic.unseen]
    if unseen:
        yield ""
        yield from _not_seen(unseen)
    yield _verdict(checkup)


def _found(checkup: Checkup, severity: str) -> Iterator[str]:
    for topic in checkup.topics:
        for finding in topic.findings:
            if finding.severity == severity:
                yield from finding_lines(finding)
                yield ""


def _of_topic(topic: Topic) -> Iterator[str]:
    word, colour = _word(topic)
    yield f"{click.style(topic.name, bold=True)}: {click.style(word, fg=colour)}"
    width = min(max(map(len, topic.facts), default=0), _LABEL)
    for name, value in topic.facts.items():
        label = f"  {one_line(name).ljust(width)}  "
        yield from textwrap.wrap(
            one_line(value),
            _WIDTH,
            initial_indent=label,
            subsequent_indent=" " * (width + 4),
            break_long_words=False,
            break_on_hyphens=False,
        ) or [label.rstrip()]


def _word(topic: Topic) -> tuple[str, str]:
    counts = [
        counted(number, noun)
        for number, noun in ((topic.problems, "problem"), (topic.warnings, "warning"))
        if number
    ]
    if counts:
        return ", ".join(counts), "red" if topic.problems else "yellow"
    passed = sum(item.verdict == "passed" for item in topic.outcomes)
    if not passed:
        return ("not seen" if topic.unseen else "does not apply here"), "yellow"
    unseen = f", {len(topic.unseen)} could not look" if topic.unseen else ""
    return f"ok ({counted(passed, 'check')} passed{unseen})", "green"


def _not_seen(unseen: list[tuple[Topic, Outcome]]) -> Iterator[str]:
    """By reason: one missing network leaves several claims unproven."""
    by_reason: dict[str, list[str]] = {}
    for _, outcome in unseen:
        by_reason.setdefault(outcome.detail, []).append(outcome.check)
    for reason, checks in by_reason.items():
        line = f"not seen: {listed(checks, 4)}: {one_line(reason)}"
        yield from (click.style(part, dim=True) for part in _wrapped(line))


def _verdict(checkup: Checkup) -> str:
    problems = sum(item.problems for item in checkup.topics)
    warnings = sum(item.warnings for item in checkup.topics)
    passed = sum(item.verdict == "passed" for topic in checkup.topics for item in topic.outcomes)
    unseen = sum(len(item.unseen) for item in checkup.topics)
    counts = [
        counted(number, noun)
        for number, noun in ((problems, "problem"), (warnings, "warning"))
        if number
    ]
    counts.append(f"{counted(passed, 'check')} passed")
    if unseen:
        counts.append(f"{unseen} could not look")
    colour = "red" if problems else "yellow" if warnings else "green"
    return click.style(", ".join(counts), fg=colour, bold=True)


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(
        line, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
