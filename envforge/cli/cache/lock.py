"""`envforge cache lock`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.failure import to_paste
from envforge.cli.rendering import shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@options.environment_argument()
@options.model_option
@click.option("--keep", is_flag=True, help="Leave what is locked as it is; lock only what is new.")
@options.dry_run_option
@options.json_option
@options.forge_options
@options.store_option
def command(
    forge: Forge, *, env: str, models: tuple[str, ...], keep: bool, dry_run: bool, as_json: bool
) -> None:
    """Pin the models of ENV: models.yml becomes models-lock.yml.

    Every branch and tag is asked for its commit, and every file for its size and hash.
    Small files are fetched once to hash them; weights are not.
    """
    from envforge.cli.rendering import render_models

    result = forge.cache.lock(env, models=models, keep=keep, dry_run=dry_run)
    if as_json:
        click.echo(shown.as_json("cache-lock", render_models.lock_document(result)))
    else:
        render_models.show_locked(result)
        if result.outcome == "written" and result.lock.models:
            click.echo(to_paste(f"next: envforge cache prefill {result.name}"))
