"""`envforge update`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from envforge.cli import options
from envforge.cli.rendering import shown
from envforge.model.wording import counted

if TYPE_CHECKING:
    from envforge.forge import Forge
    from envforge.model.results import UpdateResult


@click.command()
@options.environment_argument()
@click.argument("packages", nargs=-1, metavar="[PACKAGE[=SPEC]...]")
@click.option("--torch", metavar="V", help="Another torch, in a new folder beside ENV's.")
@click.option("--cuda", metavar="V", help="Another CUDA, or cpu, in a new folder beside ENV's.")
@click.option("--models", is_flag=True, help="Pin the models anew, too. [alone: cache lock ENV]")
@click.option(
    "--max-moves",
    type=click.IntRange(min=0),
    metavar="N",
    help="Fail if more than N packages that were not named change, come or go.",
)
@options.exclude_newer_option
@options.dry_run_option
@options.json_option
@options.forge_options
def command(forge: Forge, *, env: str, as_json: bool, **wanted: Any) -> None:
    """Make packages of ENV newer, lock them, and show what moved; installs nothing.

    Each PACKAGE becomes as new as its SPEC, or the range in environment.yml, lets it.
    Of the others only those move that have to. Without any, everything becomes as new
    as the ranges allow.

    \b
    envforge update ENV transformers --max-moves 3
    envforge update ENV numpy=1.26
    envforge update ENV --torch 2.1.0 --cuda 12.1
    envforge update ENV --exclude-newer 2024-03-01
    """  # noqa: D301 - click reads the backspace
    result = forge.update(env, **wanted)
    if as_json:
        click.echo(shown.as_json("update", _document(result)))
    else:
        _show(result)


def _document(result: UpdateResult) -> dict[str, Any]:
    from envforge.cli.rendering import render, render_diff

    return {
        **render.lock_document(result.lock),
        "old_name": result.old_name,
        "asked": list(result.asked),
        "others": list(result.others),
        "difference": render_diff.document(result.comparison),
    }


def _show(result: UpdateResult) -> None:
    from envforge.cli.rendering import render, render_diff

    render_diff.show(result.comparison, why=bool(result.asked))
    if result.asked:
        click.echo(f"{counted(len(result.others), 'other package')} moved")
    render.show_locked(replace(result.lock, models=None))
    if result.lock.outcome == "written":
        click.echo(f"next: envforge install {result.name}")
