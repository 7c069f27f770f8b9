"""`envforge cache adopt`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@options.dry_run_option
@options.json_option
@options.forge_options
@options.store_option
def command(forge: Forge, *, paths: tuple[Path, ...], dry_run: bool, as_json: bool) -> None:
    """Take the files of existing caches into the store; the caches become links to it.

    Every file is read wholly and proven by its hash first. It becomes read-only and the store
    owner's; whoever has the cache goes on using it, and may delete it.
    """
    from envforge.cli.rendering import render_dedupe

    result = forge.cache.adopt(paths, dry_run=dry_run)
    raise SystemExit(render_dedupe.show_adopted(result, as_json=as_json))
