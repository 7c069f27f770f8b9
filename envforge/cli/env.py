"""`envforge env`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.model.activation import ALLOCATORS

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@options.environment_argument()
@click.option(
    "--allocator",
    type=click.Choice(ALLOCATORS),
    help="How torch keeps the memory of GPUs, by the name and options that this torch knows.",
)
@click.option(
    "--deterministic/--no-deterministic",
    default=None,
    help="Set what libraries need to compute the same in every run.",
)
@click.option(
    "--threads",
    metavar="N|auto|off",
    help="Threads of libraries; auto: no more than the control group grants. [auto]",
)
@options.installed_prefix_option
@options.dry_run_option
@options.json_option
@options.forge_options
def command(
    forge: Forge,
    *,
    env: str,
    allocator: str | None,
    deterministic: bool | None,
    threads: str | None,
    prefix: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Explain each variable that activation sets in ENV: value, why, and who set it.

    A choice is written into the environment, so that `conda activate`, `envforge activate` and
    `envforge run` agree; it stays through later installs. What environment.yml, or somebody with
    `conda env config vars set`, has set comes first, and is left alone.

    \b
    envforge env ENV --allocator expandable     fragments GPU memory less
    envforge env ENV --allocator shared-server  gives memory back sooner
    envforge env ENV --deterministic            the same numbers in every run
    """  # noqa: D301 - click reads the backspace
    from envforge.cli.rendering import render_env

    found = forge.env(
        env,
        prefix=prefix,
        allocator=allocator,
        deterministic=deterministic,
        threads=threads,
        dry_run=dry_run,
    )
    if as_json:
        click.echo(render_env.as_json(found, dry_run=dry_run))
    else:
        render_env.show(found, dry_run=dry_run)
