"""`envforge report`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown
from envforge.cli.rendering.plain_text import echo
from envforge.formats.text.printable import printable_document
from envforge.model.wording import counted

if TYPE_CHECKING:
    from envforge.around.page.overview import Overview
    from envforge.forge import Forge

_FILE = click.Path(path_type=Path)


@click.command()
@click.option(
    "-o",
    "--output",
    type=_FILE,
    default="envforge-report",
    show_default=True,
    metavar="DIR",
    help="Folder for index.html.",
)
@click.option("--since", metavar="REV", help="Compare the locks with this revision. [HEAD]")
@click.option(
    "--verify",
    "verified",
    type=_FILE,
    metavar="FILE",
    multiple=True,
    help="Answer of verify --json, from CI. Repeatable. [what is remembered]",
)
@click.option(
    "--bench",
    "benchmarks",
    type=_FILE,
    metavar="FILE",
    multiple=True,
    help="What bench --save wrote. Repeatable. [what is remembered]",
)
@click.option("--force", is_flag=True, help="Replace an index.html that envforge did not write.")
@options.json_option
@options.forge_options
@options.store_option
def command(
    forge: Forge,
    *,
    output: Path,
    since: str | None,
    verified: tuple[Path, ...],
    benchmarks: tuple[Path, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Write a page that shows environments, locks and disk at a glance.

    One HTML file, for a browser or any web server: what there is and its state, what this
    machine runs, what moved in the locks, who uses the disk, and how the last verifications
    and benchmarks ended. Nothing is verified or measured for it.
    """
    overview = forge.report(since=since, verified=verified, benchmarks=benchmarks)
    path = forge.write_report(overview, output, force=force)
    if as_json:
        document = printable_document({"page": str(path), **asdict(overview)})
        click.echo(shown.as_json("report", document))
        return
    echo(_summary(overview), err=True)
    echo(str(path))


def _summary(overview: Overview) -> str:
    """`12 environments, 9 ready; 2 want a look`."""
    number = counted(len(overview.environments), "environment")
    trouble = overview.troubled
    wants = f"; {trouble} {'wants' if trouble == 1 else 'want'} a look" if trouble else ""
    return f"{number}, {overview.ready} ready{wants}"
