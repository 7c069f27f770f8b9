"""`envforge remove`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@options.environment_argument()
@options.installed_prefix_option
@click.option("--folder", is_flag=True, help="Remove the folder with the lock, too.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@options.dry_run_option
@options.forge_options
def command(
    forge: Forge, *, env: str, prefix: Path | None, folder: bool, yes: bool, dry_run: bool
) -> None:
    """Remove what was installed for ENV. Its folder with the lock stays, unless --folder."""
    paths = forge.plan_removal(env, prefix=prefix, folder=folder)
    if not paths:
        click.echo(f"nothing is installed for {env}")
        return
    for path in paths:
        click.echo(f"{'would remove' if dry_run else 'remove'} {path}", err=not dry_run)
    if dry_run:
        return
    if not yes and not click.confirm("Remove?", err=True):
        click.echo("nothing was removed")
        return
    forge.remove(env, prefix=prefix, folder=folder)
    click.echo(f"removed {env}")
