"""A load that was watched, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

import click

from envforge.cli.failure import to_paste
from envforge.cli.rendering import render
from envforge.cli.rendering.plain_text import echo
from envforge.formats.text.printable import clean, one_line, printable_document
from envforge.model.proof import LoadProof, LoadRun, ProvenFile

_MOST_FILES: Final = 30
_FROM: Final = {
    "hardlink": "store",
    "reflink": "store (reflink)",
    "copy": "store (copy)",
    "elsewhere": "ELSEWHERE",
    "missing": "MISSING",
}


def document(proof: LoadProof) -> dict[str, Any]:
    """Everything that is known."""
    answer: dict[str, Any] = {
        "passed": proof.passed,
        "environment": proof.environment,
        "repo": proof.repo.id,
        "kind": proof.repo.kind,
        "revision": proof.revision,
        "commit": proof.commit,
        "store": proof.store,
        "view": proof.view,
        "command": list(proof.command),
        "problems": [{"message": said, "remedy": remedy} for said, remedy in proof.problems],
        "runs": [asdict(run) for run in proof.runs],
        "files": [asdict(item) for item in proof.files],
    }
    found: dict[str, Any] = printable_document(answer)
    return found


def show(proof: LoadProof) -> None:
    """Problems first, then what was seen."""
    verdict = (
        click.style("proven", fg="green", bold=True)
        if proof.passed
        else click.style("NOT PROVEN", fg="red", bold=True)
    )
    name = f"{one_line(proof.repo.shown)}@{one_line(proof.revision)} ({proof.commit[:7]})"
    echo(f"{verdict} {name} in {proof.environment}")
    for message, remedy in proof.problems:
        echo(click.style(f"error: {clean(message)}", fg="red"))
        if remedy:
            echo(f"  do: {to_paste(clean(remedy))}")
    for line in _lines(proof):
        echo(line)


def _lines(proof: LoadProof) -> Iterator[str]:
    for name, place in (("store", proof.store), ("view", proof.view)):
        yield f"  {name:<6} {one_line(place)}"
    calls = sum(len(run.calls) for run in proof.runs)
    yield f"  calls  {calls or 'none'}"
    yield ""
    header = ("", "LOAD", "WHOLE PROGRAM", "BY")
    rows = [_run_row(run, first=not place) for place, run in enumerate(proof.runs)]
    yield from (f"  {line}" for line in render.columns([header, *rows]))
    yield ""
    files = sorted(proof.files, key=lambda item: (-item.size, item.path))
    head = ("FILE", "SIZE", "FROM", "INODE", "READ")
    shown = [_file_row(item) for item in files[:_MOST_FILES]]
    yield from (f"  {line}" for line in render.columns([head, *shown]))
    if len(files) > _MOST_FILES:
        yield f"  and {len(files) - _MOST_FILES} smaller ones: --json lists them"


def _run_row(run: LoadRun, *, first: bool) -> tuple[str, ...]:
    name = "cold" if run.cold else "as it was" if first else "warm"
    load = "-" if run.load_seconds is None else f"{run.load_seconds:.2f} s"
    return (name, load, f"{run.seconds:.2f} s", run.loader or "CMD")


def _file_row(item: ProvenFile) -> tuple[str, ...]:
    return (
        one_line(item.path),
        render.size(item.size),
        _FROM[item.origin],
        "-" if item.inode is None else str(item.inode),
        "mapped" if item.mapped else "yes" if item.opened else "no",
    )
