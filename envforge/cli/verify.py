"""`envforge verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options, render_report
from envforge.model.finding import LEVELS, Level

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@options.environment_argument(required=False)
@click.option("--level", type=click.Choice(LEVELS), help="How deep. [as deep as possible]")
@click.option("--check", "only", metavar="ID", multiple=True, help="This check only. Repeatable.")
@click.option("--skip", metavar="ID", multiple=True, help="Without this check. Repeatable.")
@click.option("--list", "list_checks", is_flag=True, help="Show the table of checks.")
@click.option("--require-gpu", is_flag=True, help="Fail when no GPU can be tried.")
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds a probe.")
@options.installed_prefix_option
@options.json_option
@options.forge_options
@click.pass_context
def command(
    ctx: click.Context,
    forge: Forge,
    *,
    env: str | None,
    level: Level | None,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    list_checks: bool,
    require_gpu: bool,
    timeout: float,
    prefix: Path | None,
    as_json: bool,
) -> None:
    """Check that ENV is as locked and works on this machine.

    Without ENV: all environments in --envs that are installed. Exit status 1 when a
    check found a problem.
    """
    if list_checks:
        render_report.show_checks(forge.checks(), as_json=as_json)
        return
    reports = forge.verify(
        env,
        prefix=prefix,
        level=level,
        only=only,
        skip=skip,
        require_gpu=require_gpu,
        timeout=timeout,
    )
    render_report.show(reports, as_json=as_json)
    # A check that was asked for by name and could not look has not shown what it was asked for.
    unproven = bool(only) and any(report.unproven for report in reports)
    if unproven or not all(report.passed for report in reports):
        ctx.exit(1)
