"""`envforge show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import render, shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@options.environment_argument()
@click.option("--packages", is_flag=True, help="List every locked package of this platform.")
@options.json_option
@options.forge_options
def command(forge: Forge, *, env: str, packages: bool, as_json: bool) -> None:
    """Show what ENV is locked to: torch, CUDA, cuDNN, driver, GPUs; --packages for the rest."""
    info = forge.show(env)
    if as_json:
        click.echo(shown.as_json("show", render.info_document(info, packages=True)))
    else:
        render.show_info(info, packages=packages, platform=forge.platform)
