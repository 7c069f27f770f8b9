"""`envforge cache env`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from envforge.cli import options
from envforge.cli.rendering import shown
from envforge.model.views import VARIABLE_FORMATS

if TYPE_CHECKING:
    from envforge.forge import Forge
    from envforge.model.views import VariableFormat


@click.command()
@click.argument("target", metavar="ENV|USER|DIR", shell_complete=options.complete_environment)
@click.option(
    "--format",
    "form",
    type=click.Choice(VARIABLE_FORMATS),
    default="sh",
    show_default=True,
    help="For which shell, container or service.",
)
@click.option("--for", "user", metavar="USER", help="Whose view of ENV. [yours]")
@options.json_option
@options.forge_options
@options.store_option
def command(forge: Forge, *, target: str, form: str, user: str | None, as_json: bool) -> None:
    """Print the variables that make clients, old and new, use a view.

    \b
    sh, bash, zsh:  eval "$(envforge cache env ENV)"
    docker:         docker run $(envforge cache env ENV --format docker) IMAGE
    systemd:        envforge cache env ENV --format systemd > UNIT.d/models.conf

    With --offline, clients ask no hub (HF_HUB_OFFLINE). `envforge activate` and `envforge run` set
    the others by themselves.
    """  # noqa: D301 - click reads the backspace
    from envforge.formats.text.variables_text import as_text

    found = forge.cache.variables(target, user=user, offline=forge.settings.offline)
    if as_json:
        document = {
            "view": found.view,
            "flat": found.flat or None,
            "variables": dict(found.variables),
        }
        click.echo(shown.as_json("cache-env", document))
        return
    folders = [folder for folder in (found.view, found.flat) if folder]
    text = as_text(found.variables, cast("VariableFormat", form), folders=folders)
    click.echo(text, nl=False)
