"""`envforge cache gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.option(
    "--older-than",
    metavar="AGE",
    default="30d",
    show_default=True,
    help="Only what nothing happened to for so long: 30d, 12h, 2w, 0.",
)
@click.option(
    "--keep-free",
    metavar="SIZE",
    help="Remove the oldest, and only until so much of the disk is free: 200G.",
)
@click.option("--views", is_flag=True, help="First remove the views of environments that are gone.")
@options.dry_run_option
@options.json_option
@options.forge_options
@options.store_option
def command(
    forge: Forge,
    *,
    older_than: str,
    keep_free: str | None,
    views: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove files that nothing uses any more from the store.

    A file stays while a view links to it, a models-lock.yml in --envs or one that was prefilled
    from names it, a prefill is at it, or anything happened to it within --older-than: it was read,
    linked, or the last link to it went. Damaged files that were put aside, and what killed
    processes left, go by the same age.

    \b
    envforge cache gc --older-than 30d --dry-run
    envforge cache gc --older-than 7d --keep-free 200G
    """  # noqa: D301 - click reads the backspace
    from envforge.cache.amounts import parse_age, parse_bytes
    from envforge.cli.rendering import render_usage

    collected = forge.cache.collect(
        older_than=parse_age(older_than, "--older-than"),
        keep_free=None if keep_free is None else parse_bytes(keep_free, "--keep-free"),
        views=views,
        dry_run=dry_run,
    )
    if as_json:
        click.echo(render_usage.collected_json(collected))
    else:
        render_usage.show_collected(collected, older_than)
