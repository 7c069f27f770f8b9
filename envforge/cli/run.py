"""`envforge run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@options.installed_prefix_option
@options.forge_options
@options.environment_argument()
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, required=True, metavar="-- CMD...")
def command(forge: Forge, *, env: str, arguments: tuple[str, ...], prefix: Path | None) -> None:
    """Run CMD in ENV, as if it were activated; its exit status is ours.

    The command takes this process's place, so signals and the terminal are its own.
    """
    program = arguments[1:] if arguments[0] == "--" else arguments
    if program == arguments and program[0].startswith("-"):
        raise click.UsageError(
            f"{program[0]!r} stands behind ENV, where the command begins: options go before ENV."
        )
    if not program:
        raise click.UsageError("Missing argument '-- CMD...'.")
    forge.run(env, program, prefix=prefix)
