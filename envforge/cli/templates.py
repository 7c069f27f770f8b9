"""`envforge templates`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import render, shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.argument("name", required=False)
@options.json_option
@options.forge_options
def command(forge: Forge, *, name: str | None, as_json: bool) -> None:
    """List the environments to start from, or show the packages of NAME."""
    chosen = (forge.template(name),) if name else forge.templates()
    if as_json:
        click.echo(shown.as_json("templates", {"templates": [asdict(item) for item in chosen]}))
    elif name:
        render.show_template(chosen[0])
    else:
        render.show_templates(chosen)
