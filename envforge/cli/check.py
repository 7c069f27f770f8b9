"""`envforge check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown

if TYPE_CHECKING:
    from envforge.forge import Forge

_STALE = 4


@click.command()
@click.argument("named", metavar="[ENV]...", nargs=-1, shell_complete=options.complete_environment)
@click.option("--fix", is_flag=True, help="Mend what needs no decision.")
@click.option(
    "--availability",
    is_flag=True,
    help="Ask the servers for every archive, and say what is gone and where else it is.",
)
@options.json_option
@options.forge_options
def command(
    forge: Forge, *, named: tuple[str, ...], fix: bool, availability: bool, as_json: bool
) -> None:
    """Say whether locks are current and sound: no solver, and no network by itself.

    ENV is a name, a folder, a file of one, or any conda-lock.yml; all environments
    without ENV. Looked at: is the lock what environment.yml, virtual-packages.yml and
    models.yml ask for; is the GPU build what the name claims; hashes; secrets, local
    paths and mirrors' addresses; pairs that are known to fail.

    With --availability every archive is asked for, and none fetched.

    Ends with 4 where a lock is stale, and with 1 where something else is wrong.
    """
    from envforge.cli.rendering import render_check

    reports = forge.check(named, fix=fix, availability=availability)
    if as_json:
        click.echo(shown.as_json("check", render_check.document(reports)))
    else:
        render_check.show(reports)
    if any(report.is_stale for report in reports):
        click.get_current_context().exit(_STALE)
    if not all(report.passed for report in reports):
        click.get_current_context().exit(1)
