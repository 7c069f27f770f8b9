"""`envforge unpack`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--receipt",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A receipt that came another way: refuse any other pack.",
)
@click.option("--no-models", is_flag=True, help="Leave the model files in it.")
@click.option("--force", is_flag=True, help="Replace folders of environments that differ.")
@click.option("--dry-run", is_flag=True, help="Verify all of it, and show what it holds.")
@options.json_option
@options.forge_options
@options.store_option
def command(
    forge: Forge,
    *,
    file: Path,
    receipt: Path | None,
    no_models: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Verify a pack, then fill package cache, model store and folders from it.

    Every byte is compared with its hash before anything is touched; no network is asked. FILE
    may be -: standard input. What is there already stays, so that it can be run again.
    """
    from envforge.cli.rendering import render_pack

    done = forge.unpack(
        sys.stdin.buffer if str(file) == "-" else file,
        receipt=receipt,
        models=not no_models,
        force=force,
        dry_run=dry_run,
    )
    click.echo(render_pack.unpacked_json(done) if as_json else render_pack.unpacked_text(done))
