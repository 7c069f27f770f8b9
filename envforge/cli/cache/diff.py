"""`envforge cache diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.argument("env", metavar="ENV|FILE|-", shell_complete=options.complete_environment)
@click.argument("other", metavar="[ENV|FILE]", required=False)
@options.json_option
@options.forge_options
@options.store_option
def command(forge: Forge, *, env: str, other: str | None, as_json: bool) -> None:
    """Show what moved from one lock of models to another, or to what the hub has now.

    \b
    envforge cache diff ENV
    git show HEAD:envs/ENV/models-lock.yml | envforge cache diff - ENV
    """  # noqa: D301 - click reads the backspace
    from envforge.cli.rendering import render_models

    changes = forge.cache.diff(env, other)
    if as_json:
        documents = render_models.diff_documents(changes)
        click.echo(shown.as_json("cache-diff", {"changes": documents}))
    else:
        render_models.show_diff(changes)
