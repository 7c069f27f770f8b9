"""How a store's health, its disk's and a new store look, as text and as JSON."""

from __future__ import annotations

import shlex
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import click

from envforge.cli.failure import to_paste
from envforge.cli.rendering import render
from envforge.cli.rendering.plain_text import echo
from envforge.formats.text.printable import one_line
from envforge.model.finding import Finding
from envforge.model.health import Diagnosis, Flaw, StoreHealth, StoreMade
from envforge.model.wording import counted

_WIDTH: Final = 80
_SHOWN: Final = 20
"""Flaws of one kind that are shown; the rest is counted. `--json` has all."""
_USERS: Final = 2


# --- init -----------------------------------------------------------------------------------


def made_document(made: StoreMade) -> dict[str, Any]:
    """A store that was made."""
    return {**asdict(made), "mode": f"{made.mode:04o}"}


def show_made(made: StoreMade, settings: Mapping[str, str], *, named: bool = False) -> None:
    """Say where it is, who can use it, and what comes next.

    Args:
        made: the store.
        settings: what its owner should know of its disk.
        named: it was named on the command line, which `run` and `create` will not see.
    """
    what = "made the store" if made.is_new else "the store is there"
    who = f"members of {made.group}" if made.for_group else "everybody on this machine"
    echo(f"{click.style(what, fg='green', bold=True)} {made.path}")
    echo(f"  {who} can read it, only its owner writes (mode {made.mode:04o})")
    for finding in settings.values():
        echo(f"  {finding}")
    echo(to_paste("next: envforge cache prefill ENV"))
    if named:
        setting = f"export ENVFORGE_STORE={shlex.quote(made.path)}"
        echo(f"      {setting}    for create, run and activate, of everybody")
    if made.for_group or made.owner == 0:
        serve = to_paste("envforge cache serve")
        echo(f"      {serve}    hardlinks for the others: leave it running")


# --- verify ---------------------------------------------------------------------------------


def health_document(report: StoreHealth) -> dict[str, Any]:
    """What a look at the store came to."""
    return {
        "store": report.store,
        "passed": report.passed,
        "deep": report.deep,
        "files": report.files,
        "bytes": report.size,
        "bytes_read": report.read,
        "views": report.views,
        "locks": list(report.locks),
        "flaws": [_flaw_document(item) for item in report.flaws],
        "mended": [_flaw_document(item) for item in report.mended],
        "notes": list(report.notes),
    }


def _flaw_document(flaw: Flaw) -> dict[str, Any]:
    document = asdict(flaw)
    document["severity"] = "warning" if document.pop("is_warning") else "error"
    document["wanted_by"] = list(flaw.wanted_by)
    return document


def show_health(report: StoreHealth) -> None:
    """Problems first, then what was mended, then what was looked at."""
    _show_flaws(report.flaws)
    for note in report.notes:
        echo(f"  {one_line(note)}")
    if report.mended:
        echo(f"{click.style('mended', fg='green', bold=True)} {len(report.mended)}:")
        for flaw in report.mended[:_SHOWN]:
            echo(f"  {_short(flaw, report.store)}: {flaw.message}")
    problems = sum(not flaw.is_warning for flaw in report.flaws)
    word = click.style("all right", fg="green", bold=True)
    if problems:
        word = click.style(counted(problems, "problem"), fg="red", bold=True)
    elif report.flaws:
        word = click.style(counted(len(report.flaws), "warning"), fg="yellow", bold=True)
    echo(f"{word}: {_looked_at(report)}")


def _looked_at(report: StoreHealth) -> str:
    read = f"{render.size(report.read)} read" if report.read else "sizes, modes and links"
    parts = [
        f"{counted(report.files, 'file')} ({render.size(report.size)}; {read})",
        counted(report.views, "view"),
        counted(len(report.locks), "lock"),
    ]
    return ", ".join(parts) + ("" if report.deep else "; --deep reads every byte")


def _show_flaws(flaws: Sequence[Flaw]) -> None:
    groups: defaultdict[tuple[bool, str], list[Flaw]] = defaultdict(list)
    for flaw in flaws:
        groups[flaw.is_warning, flaw.kind].append(flaw)
    for (is_warning, kind), group in groups.items():
        label = (
            click.style("warning", fg="yellow") if is_warning else click.style("error", fg="red")
        )
        echo(f"{label} {kind}: {len(group)}")
        for flaw in group[:_SHOWN]:
            echo(f"  {flaw.path}")
            for line in textwrap.wrap(_sentence(flaw), _WIDTH - 4):
                echo(f"    {line}")
        if len(group) > _SHOWN:
            echo(f"  and {len(group) - _SHOWN} more; --json shows all")
        for remedy in dict.fromkeys(flaw.remedy for flaw in group[:_SHOWN] if flaw.remedy):
            echo(f"  mend: {click.style(to_paste(remedy), bold=True)}")


def _sentence(flaw: Flaw) -> str:
    users = [item for item in flaw.wanted_by if item]
    shown = "; ".join(users[:_USERS]) + (f"; {len(users) - _USERS} more" if users[_USERS:] else "")
    return one_line(flaw.message + (f" (for {shown})" if users else ""))


def _short(flaw: Flaw, store: str) -> str:
    return flaw.path.removeprefix(f"{store}/")


# --- doctor ---------------------------------------------------------------------------------


def diagnosis_document(diagnosis: Diagnosis) -> dict[str, Any]:
    """What the doctor found."""
    return {
        "passed": diagnosis.passed,
        "facts": dict(diagnosis.facts),
        "checks": [
            {
                "check": outcome.check,
                "claim": outcome.claim,
                "verdict": outcome.verdict,
                "detail": outcome.detail,
                "findings": [asdict(finding) for finding in outcome.findings],
            }
            for outcome in diagnosis.outcomes
        ],
    }


def show_diagnosis(diagnosis: Diagnosis, *, verbose: bool = False) -> None:
    """Findings first, each with its remedy; then the facts; then what could not be seen."""
    for finding in diagnosis.findings:
        for line in finding_lines(finding):
            echo(line)
    if diagnosis.findings:
        echo("")
    width = max(map(len, diagnosis.facts))
    for name, value in diagnosis.facts.items():
        echo(f"{name.ljust(width)}  {one_line(value)}")
    unseen = [item for item in diagnosis.outcomes if item.verdict == "unproven"]
    for outcome in unseen:
        text = f"not seen: {outcome.claim.lower()}: {outcome.detail}"
        for line in textwrap.wrap(text, _WIDTH, subsequent_indent="  "):
            echo(click.style(line, dim=True))
    echo(_verdict(diagnosis, len(unseen)))


def finding_lines(finding: Finding) -> Iterator[str]:
    """One finding: what, what was seen, and what mends it."""
    colour = "red" if finding.severity == "error" else "yellow"
    head, *rest = textwrap.wrap(
        f"{finding.severity}: {one_line(finding.message)}",
        _WIDTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    yield head.replace(finding.severity, click.style(finding.severity, fg=colour), 1)
    yield from rest
    yield f"  mend: {click.style(to_paste(one_line(finding.remedy)), bold=True)}"


def _verdict(diagnosis: Diagnosis, unseen: int) -> str:
    errors = sum(item.severity == "error" for item in diagnosis.findings)
    warnings = len(diagnosis.findings) - errors
    counts = [
        counted(number, noun)
        for number, noun in ((errors, "problem"), (warnings, "warning"))
        if number
    ]
    passed = sum(item.verdict == "passed" for item in diagnosis.outcomes)
    counts.append(f"{counted(passed, 'check')} passed")
    if unseen:
        counts.append(f"{unseen} could not look")
    text = ", ".join(counts)
    return click.style(text, fg="red" if errors else "yellow" if warnings else "green", bold=True)


def warnings_of(findings: Iterable[Finding]) -> dict[str, str]:
    """What a new store's owner should know of its disk: a line each."""
    return {
        finding.message: f"{finding.severity}: {one_line(finding.message)}\n    {finding.remedy}"
        for finding in findings
    }
