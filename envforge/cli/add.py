"""`envforge add`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import render, shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@options.environment_argument()
@click.argument("packages", nargs=-1, required=True, metavar="PKG...")
@click.option("--no-install", is_flag=True, help="Lock only.")
@click.option("--force", is_flag=True, help="Install though it cannot run here.")
@options.dry_run_option
@options.json_option
@options.forge_options
def command(
    forge: Forge,
    *,
    env: str,
    packages: tuple[str, ...],
    no_install: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Add packages to ENV's environment.yml, lock again, and install.

    What is locked already stays where it still fits.
    """
    locked, installed = forge.add(
        env, packages, install=not no_install, dry_run=dry_run, force=force
    )
    if as_json:
        document = render.lock_document(locked)
        document["install"] = render.install_document(installed) if installed else None
        click.echo(shown.as_json("add", document))
        return
    render.show_locked(locked)
    if installed:
        render.show_installed(installed)
