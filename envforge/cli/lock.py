"""`envforge lock`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from envforge.cli import options
from envforge.cli.rendering import render, shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.argument("name", metavar="PROJECT|ENV", shell_complete=options.complete_environment)
@options.request_options
@options.model_option
@options.dry_run_option
@options.json_option
@options.forge_options
def command(forge: Forge, *, name: str, as_json: bool, **request: Any) -> None:
    """Write environment.yml and conda-lock.yml; install nothing.

    With --torch and --cuda: for a new environment of PROJECT. Without: solve the
    environment.yml of ENV again, after it was edited; what is locked stays where it
    still fits, and `envforge update` moves it.
    """
    result = forge.lock(name, **request)
    if as_json:
        click.echo(shown.as_json("lock", render.lock_document(result)))
    else:
        render.show_locked(result)
