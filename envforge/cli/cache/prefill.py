"""`envforge cache prefill`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.argument("names", metavar="[ENV | REPO]...", nargs=-1)
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Files fetched at once.",
)
@click.option("--no-view", is_flag=True, help="Leave the views of the environments as they are.")
@options.dry_run_option
@options.json_option
@options.forge_options
@options.store_option
def command(
    forge: Forge,
    *,
    names: tuple[str, ...],
    jobs: int,
    no_view: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Fetch what is locked into the store, and make the views.

    Names are environments, or repositories: org/name, org/name@revision,
    dataset:org/name. Without any: every environment that has models.
    Interrupted, it goes on where it stopped when it is run again.
    """
    from envforge.cli.rendering import render_prefill

    try:
        done = forge.cache.prefill(names, jobs=jobs, view=not no_view, dry_run=dry_run)
    except KeyboardInterrupt as error:
        raise click.Abort("what came is kept; the same command again goes on with it") from error
    if as_json:
        click.echo(shown.as_json("cache-prefill", render_prefill.document(done)))
    else:
        render_prefill.show(done)
