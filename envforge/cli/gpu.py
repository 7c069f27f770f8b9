"""`envforge gpu`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--seconds",
    type=click.FloatRange(0, 600),
    default=2.0,
    show_default=True,
    help="Watch so long who uses each GPU.",
)
@options.json_option
@options.forge_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD...]")
def command(forge: Forge, *, seconds: float, as_json: bool, arguments: tuple[str, ...]) -> None:
    """Show who holds memory of each GPU, and what of it could be given back.

    With CMD, that program is run instead, and tells what its allocator holds whenever somebody
    of its own user, or root, asks with `envforge gpu`.
    """
    from envforge.cli.rendering import render_gpu

    program = arguments[1:] if arguments[:1] == ("--",) else arguments
    if program:
        if program[0].startswith("-"):
            raise click.UsageError(f"No such option: {program[0]!r}. A command stands behind --.")
        forge.run_watched(program)
    report = forge.gpu(seconds=seconds)
    if as_json:
        click.echo(shown.as_json("gpu", render_gpu.document(report)))
    else:
        render_gpu.show(report)
    raise SystemExit(1 if report.problem else 0)
