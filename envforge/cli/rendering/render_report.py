"""Shows verifications: which of the forms, and where to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from envforge.cli.rendering.plain_text import echo
from envforge.cli.rendering.report_json import as_document
from envforge.cli.rendering.report_json import as_json as json_of
from envforge.cli.rendering.report_text import as_text, coloured, lines
from envforge.errors import FileNotUsable
from envforge.model.finding import Report

if TYPE_CHECKING:
    from envforge.verify.check import Check

__all__ = ["as_document", "as_text", "json_of", "show", "show_checks"]

_WIDEST: Final = 100
"""Columns used at most: longer lines are hard to read."""


def show(reports: Sequence[Report], *, as_json: bool, verbose: bool = False) -> None:
    """Write reports to standard output."""
    echo(json_of(reports) if as_json else text_of(reports, verbose=verbose))


def text_of(reports: Sequence[Report], *, verbose: bool = False, plain: bool = False) -> str:
    """Reports as text, a blank line between them.

    click takes the colours out where the stream is no terminal or NO_COLOR is set.
    """
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    shown = [
        "\n".join(
            line[1] if plain else coloured(line) for line in lines(report, width, verbose=verbose)
        )
        for report in reports
    ]
    return "\n\n".join(shown)


def write(path: Path, text: str) -> None:
    """Write an answer to a file, whole or not at all; to a pipe or a device as it comes.

    Raises:
        FileNotUsable: it cannot be written.
    """
    from envforge.adapters.files import unusable, write_text

    if str(path) == "-":
        echo(text.rstrip("\n"))
    elif path.is_dir():
        raise FileNotUsable(path=str(path), reason="it is a directory", remedy="name a file in it")
    elif path.exists() and not path.is_file():
        try:
            path.write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:
            raise unusable(path, error) from error
    else:
        write_text(path.resolve(), text)


def append(path: Path, text: str) -> None:
    """Add to a file that others write to as well.

    Raises:
        FileNotUsable: it cannot be written.
    """
    from envforge.adapters.files import unusable

    try:
        with path.open("a", encoding="utf-8", errors="replace") as stream:
            stream.write(text)
    except OSError as error:
        raise unusable(path, error) from error


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
        row = (name.ljust(widest), item.level.ljust(6), item.severity.ljust(7), item.claim)
        click.echo("  ".join(row))
