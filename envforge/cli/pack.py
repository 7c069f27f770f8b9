"""`envforge pack`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.model.machine import PLATFORMS

if TYPE_CHECKING:
    from envforge.forge import Forge
    from envforge.model.machine import Platform


@click.command()
@click.argument(
    "names", metavar="ENV...", nargs=-1, required=True, shell_complete=options.complete_environment
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    required=True,
    help="The file to write; - is standard output.",
)
@click.option("--models", is_flag=True, help="Bring the files of their models along.")
@click.option(
    "--platform",
    type=click.Choice(PLATFORMS),
    help="Of the machine it is for. [this machine's]",
)
@click.option("--no-bootstrap", is_flag=True, help="Leave out Python and envforge.")
@click.option(
    "--receipt",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the receipt here, to carry it another way.",
)
@options.dry_run_option
@options.json_option
@options.forge_options
@options.store_option
def command(
    forge: Forge,
    *,
    names: tuple[str, ...],
    output: Path,
    models: bool,
    platform: Platform | None,
    no_bootstrap: bool,
    receipt: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put environments, with all they are made of, into one file for machines without a network.

    Packages, wheels, locks and with --models the model files; each content once, however
    many environments share it. Equal environments give equal bytes. Interrupted, it goes on
    where it stopped when it is run again. There: envforge unpack FILE; or, without envforge:
    tar -xf FILE bootstrap.sh && sh bootstrap.sh FILE
    """
    from envforge.cli.rendering import render_pack

    to_stdout = str(output) == "-"
    if to_stdout and sys.stdout.isatty() and not dry_run:
        raise click.UsageError("a pack is no text for a terminal: name a file, or pipe it on")
    done = forge.pack(
        names,
        sys.stdout.buffer if to_stdout else output,
        platform=platform,
        models=models,
        bootstrap=not no_bootstrap,
        receipt=receipt,
        dry_run=dry_run,
    )
    said = render_pack.packed_json(done) if as_json else render_pack.packed_text(done)
    click.echo(said, err=to_stdout and not dry_run)
