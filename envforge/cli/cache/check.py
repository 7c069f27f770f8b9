"""`envforge cache check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.argument("named", metavar="[ENV]...", nargs=-1, shell_complete=options.complete_environment)
@options.json_option
@options.forge_options
def command(forge: Forge, *, named: tuple[str, ...], as_json: bool) -> None:
    """Say whether models.yml and models-lock.yml of ENV agree; all that have models without ENV.

    Nothing is asked from the network. Ends with 1 where they do not agree.
    """
    from envforge.cli.rendering import render_models

    states = forge.cache.check(named)
    if as_json:
        click.echo(shown.as_json("cache-check", render_models.check_document(states)))
    else:
        render_models.show_checked(states)
    if any(state.disagreements for state in states):
        click.get_current_context().exit(1)
