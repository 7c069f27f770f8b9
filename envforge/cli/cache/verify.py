"""`envforge cache verify`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.argument(
    "names", nargs=-1, metavar="[ENV|REPO|DIR]...", shell_complete=options.complete_environment
)
@click.option("--deep", is_flag=True, help="Read every byte, and compare hashes.")
@click.option(
    "--repair", is_flag=True, help="Put damaged files aside, fetch them, relink the views."
)
@options.json_option
@options.forge_options
@options.store_option
def command(forge: Forge, *, names: Sequence[str], deep: bool, repair: bool, as_json: bool) -> None:
    """Compare every file with its lock, and every view with the store. No network.

    A file that somebody may have written to is read even without --deep. Exit status 1: something
    is wrong, and still is after --repair.
    """
    from envforge.cli.rendering import render_health

    report = forge.cache.verify(names, deep=deep, repair=repair)
    if as_json:
        click.echo(shown.as_json("cache-verify", render_health.health_document(report)))
    else:
        render_health.show_health(report)
    raise SystemExit(0 if report.passed else 1)
