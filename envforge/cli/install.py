"""`envforge install`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options, render

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@options.environment_argument()
@click.option("--locked", is_flag=True, help="Never solve: fail when the lock is stale. For CI.")
@options.prefix_option
@options.target_host_option
@click.option("--force", is_flag=True, help="Install though it cannot run here.")
@options.dry_run_option
@options.json_option
@options.forge_options
def command(
    forge: Forge, *, env: str, prefix: Path | None, dry_run: bool, as_json: bool, **how: bool
) -> None:
    """Make a prefix equal to the lock of ENV.

    An environment that differs is repaired by the smallest transaction, after saying
    what changes. A stale lock is solved again first, unless --locked. What this machine's
    driver, GPUs or C library cannot run is refused before anything is downloaded.
    """
    if dry_run:
        planned = forge.plan_install(env, prefix=prefix, **how)
        if as_json:
            click.echo(render.as_json("install", render.planned_document(planned)))
        else:
            render.show_planned(planned)
        return
    result = forge.install(env, prefix=prefix, **how)
    if as_json:
        click.echo(render.as_json("install", render.install_document(result)))
    else:
        render.show_installed(result)
