"""`envforge diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.argument("old", metavar="OLD", shell_complete=options.complete_environment)
@click.argument("new", metavar="[NEW]", required=False, shell_complete=options.complete_environment)
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request.")
@click.option("--why", is_flag=True, help="Say of each package what made it move.")
@options.json_option
@options.forge_options
def command(
    forge: Forge, *, old: str, new: str | None, markdown: bool, why: bool, as_json: bool
) -> None:
    """Show what moved from one lock to another; ends with 1 where something did.

    Each of OLD and NEW is an environment, a lock file of any tool, a conda prefix,
    installed:ENV, a revision of git as REV:PATH, or - for standard input. FILE#NAME
    is one of several environments in a file. Without NEW, the working folder is
    compared with REV:PATH, or with what was committed last.

    \b
    envforge diff ENV
    envforge diff HEAD~1:envs/ENV envs/ENV --markdown
    envforge diff ENV installed:ENV
    """  # noqa: D301 - click reads the backspace
    from envforge.cli.rendering import render_diff

    found = forge.diff(old, new)
    if as_json:
        click.echo(shown.as_json("diff", render_diff.document(found)))
    elif markdown:
        click.echo(render_diff.markdown(found))
    else:
        render_diff.show(found, why=why)
    if not found.is_same:
        click.get_current_context().exit(1)
