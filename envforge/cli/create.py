"""`envforge create`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from envforge.cli import options
from envforge.cli.rendering import render, shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.argument("project")
@options.request_options
@options.model_option
@options.target_host_option
@options.prefix_option
@options.dry_run_option
@click.option("--require-gpu", is_flag=True, help="Fail when no GPU can be tried.")
@options.json_option
@options.forge_options
def command(
    forge: Forge,
    *,
    project: str,
    prefix: Path | None,
    dry_run: bool,
    require_gpu: bool,
    as_json: bool,
    **request: Any,
) -> None:
    """Lock, install and verify an environment for PROJECT.

    Writes ENVS/PROJECT-torchXY-cuZZZ/ with environment.yml, virtual-packages.yml and
    conda-lock.yml, installs what was locked, and checks it. With --model also
    models.yml and models-lock.yml, and fetches the models into the store, if there
    is one. Run again after an interruption, it goes on where it stopped.
    """
    result = forge.create(
        project, prefix=prefix, dry_run=dry_run, require_gpu=require_gpu, **request
    )
    if as_json:
        click.echo(shown.as_json("create", render.create_document(result)))
    else:
        render.show_created(result)
    if result.report is not None and not result.report.passed:
        click.get_current_context().exit(1)
