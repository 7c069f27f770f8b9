"""`envforge activate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@options.environment_argument()
@click.option(
    "--shell",
    type=click.Choice(["bash", "zsh", "fish", "powershell"]),
    help="For which shell. [from $SHELL]",
)
@options.installed_prefix_option
@options.forge_options
def command(forge: Forge, *, env: str, shell: str | None, prefix: Path | None) -> None:
    """Print shell code that activates ENV; `deactivate_envforge` undoes it.

    \b
    bash, zsh:   eval "$(envforge activate ENV)"
    fish:        envforge activate ENV --shell fish | source
    PowerShell:  envforge activate ENV --shell powershell | Out-String |
                   Invoke-Expression
    """  # noqa: D301 - click reads the backspace
    click.echo(forge.activate(env, shell=shell, prefix=prefix), nl=False)
