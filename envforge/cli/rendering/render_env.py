"""What activation sets, as text and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict

from envforge.cli.rendering import shown
from envforge.cli.rendering.plain_text import echo
from envforge.formats.text.printable import one_line, printable_document
from envforge.model.activation import EnvironmentVariables, Explained

_WIDTH = 80


def as_json(found: EnvironmentVariables, *, dry_run: bool = False) -> str:
    """Everything that is known."""
    document = {
        "environment": found.environment,
        "prefix": str(found.prefix),
        "choices": asdict(found.choices),
        "variables": [asdict(item) for item in found.variables],
        "scripts": list(found.scripts),
        "kept": list(found.kept),
        "changed": list(found.changed),
        "dry_run": dry_run,
    }
    return shown.as_json("env", printable_document(document))


def show(found: EnvironmentVariables, *, dry_run: bool = False) -> None:
    """For a person."""
    for line in _lines(found, dry_run=dry_run):
        echo(line)


def _lines(found: EnvironmentVariables, *, dry_run: bool) -> Iterator[str]:
    chosen = found.choices
    determinism = "deterministic" if chosen.deterministic else "not deterministic"
    yield (
        f"{found.environment}: allocator {chosen.allocator}, {determinism},"
        f" threads {chosen.threads}"
    )
    for item in found.variables:
        yield ""
        yield f"{item.name}={one_line(item.value)}"
        yield from _reasons(item)
    if found.scripts:
        yield ""
        yield "packages also have scripts that activation runs"
        yield from (f"  {one_line(path)}" for path in found.scripts)
    for name in found.kept:
        yield ""
        yield f"{name} was set otherwise before, and is left alone"
    if found.changed:
        yield ""
        yield f"{'would be written' if dry_run else 'written'} in {one_line(str(found.prefix))}"
        yield from (f"  {path}" for path in found.changed)


def _reasons(item: Explained) -> Iterator[str]:
    source = f"set by {item.source}"
    text = f"{item.why} ({source})" if item.why else source
    yield from _wrapped(one_line(text))
    if item.documented:
        yield from _wrapped(f"see {item.documented}")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
