"""`envforge cache init`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.option("--group", metavar="NAME", help="Only members of this group can read it.")
@options.json_option
@options.forge_options
@options.store_option
def command(forge: Forge, *, group: str | None, as_json: bool) -> None:
    """Make the folder that model files are shared from. Only its owner can write it.

    \b
    envforge cache init
    sudo envforge cache init --store /srv/models --group ml
    """  # noqa: D301 - click reads the backspace
    from envforge.cli.rendering import render_health

    made = forge.cache.init(group=group)
    findings = forge.cache.doctor(speed=False).findings
    if as_json:
        document = render_health.made_document(made)
        document["findings"] = [finding.message for finding in findings]
        click.echo(shown.as_json("cache-init", document))
    else:
        named = options.store_given() is not None
        render_health.show_made(made, render_health.warnings_of(findings), named=named)
