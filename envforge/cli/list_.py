"""`envforge list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import render, shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@options.json_option
@options.forge_options
def command(forge: Forge, *, as_json: bool) -> None:
    """List the environments in --envs: what they are locked to, and how far they are."""
    infos = forge.environments()
    if as_json:
        documents = [render.info_document(info) for info in infos]
        click.echo(shown.as_json("list", {"environments": documents}))
    else:
        render.show_list(infos, str(forge.settings.envs_folder))
