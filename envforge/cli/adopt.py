"""`envforge adopt`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown
from envforge.model.machine import PLATFORMS
from envforge.model.spec import SOURCES

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.argument("source", metavar="FROM")
@click.option("--name", "project", metavar="PROJECT", help="First part of the new name. [found]")
@click.option("--environment", metavar="NAME", help="Which of several in FROM. [default]")
@click.option("--torch", metavar="V", help="Instead of what FROM says, or where it says nothing.")
@click.option("--cuda", metavar="V", help="The same: 11.8, cu118 or cpu.")
@click.option("--python", metavar="V", help="The same: 3.10.")
@click.option(
    "--source",
    "torch_source",
    type=click.Choice(["auto", *SOURCES]),
    help="Where torch comes from. [as in FROM]",
)
@click.option(
    "--platform",
    "platforms",
    type=click.Choice(PLATFORMS),
    multiple=True,
    help="Take this one over. Repeatable. [those of FROM]",
)
@click.option("--no-lock", is_flag=True, help="Write what is asked for, and solve nothing.")
@click.option("--force", is_flag=True, help="Replace a folder of this name.")
@options.dry_run_option
@options.json_option
@options.forge_options
def command(
    forge: Forge,
    *,
    source: str,
    project: str | None,
    environment: str | None,
    torch: str | None,
    cuda: str | None,
    python: str | None,
    torch_source: str | None,
    platforms: tuple[str, ...],
    no_lock: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make an environment of FROM: what another tool, or nobody, has written down.

    FROM is a conda environment (its folder or name), environment.yml, conda-lock.yml, pixi.lock,
    pixi.toml, an explicit list, requirements.txt, pylock.toml or a Dockerfile.

    FILE#NAME is one of several environments in a file. Versions stay where they can still
    be had; what is not carried over is said.
    """
    from envforge.cli.rendering import render_adoption

    result = forge.adopt(
        source,
        project=project,
        environment=environment,
        torch=torch,
        cuda=cuda,
        python=python,
        torch_source=torch_source,
        platforms=platforms,
        lock=not no_lock,
        dry_run=dry_run,
        force=force,
    )
    if as_json:
        click.echo(shown.as_json("adopt", render_adoption.document(result)))
    else:
        render_adoption.show(result)
