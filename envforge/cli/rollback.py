"""`envforge rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.argument("name")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    required=True,
    metavar="ROOT",
    help="Where it was published.",
)
@click.option("--to", type=int, metavar="NUMBER", help="The version to lead to. [the one before]")
@click.option("--list", "list_versions", is_flag=True, help="Show the versions, and who uses them.")
@options.dry_run_option
@options.json_option
@options.forge_options
def command(
    forge: Forge,
    *,
    name: str,
    root: Path,
    to: int | None,
    list_versions: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Lead ROOT/NAME back to an older version, after looking at its files.

    Programs that run go on with the version they were started from.
    """
    from envforge.cli.rendering import render_published

    if list_versions:
        found = forge.published(name, root)
        if as_json:
            click.echo(render_published.list_document(name, found))
        else:
            render_published.show_versions(found)
        return
    result = forge.rollback(name, root, to=to, dry_run=dry_run)
    if as_json:
        click.echo(render_published.as_document("rollback", result))
    else:
        render_published.show(result, "rolled back")
