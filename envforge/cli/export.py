"""`envforge export`."""

from __future__ import annotations

import hashlib
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from envforge.cli import options
from envforge.cli.rendering import shown
from envforge.model.export import EXPORT_TARGETS
from envforge.model.wording import listed

if TYPE_CHECKING:
    from envforge.forge import Forge
    from envforge.model.export import Export, Loss

_SHOWN = 6
_LABEL = "not held:"
_FILES = {
    "environment.yaml": "environment.yml",
    "pixi.lock": "pixi",
    "pixi.toml": "pixi",
    "pylock.toml": "pylock",
    "requirements.txt": "requirements",
}
"""What the formats' files are called: a person may say either."""


class _Target(click.Choice[str]):
    """A format, by the name of its file, too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if str(value).startswith("conda-lock"):
            self.fail("a conda-lock.yml lies in the folder of ENV already", param, ctx)
        return super().convert(_FILES.get(value, value), param, ctx)


@click.command()
@options.environment_argument()
@click.option(
    "--to",
    "target",
    type=_Target(EXPORT_TARGETS),
    required=True,
    help="What to write; sbom is cyclonedx and spdx.",
)
@click.option("--platform", "platforms", metavar="P", multiple=True, help="Only it. Repeatable.")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="A file, or a folder where there are several; - is standard output.",
)
@click.option("--sha256", is_flag=True, help="In explicit: sha256 instead of md5.")
@options.json_option
@options.forge_options
def command(
    forge: Forge,
    *,
    env: str,
    target: str,
    platforms: tuple[str, ...],
    output: str | None,
    sha256: bool,
    as_json: bool,
) -> None:
    """Write ENV for other tools, and say what their format cannot hold.

    ENV is an environment, a folder, or another tool's lock: conda-lock.yml, pixi.lock (#NAME
    chooses an environment), an @EXPLICIT file, a conda prefix, REV:PATH of git.
    """
    export = forge.export(env, target, platforms=platforms, sha256=sha256)
    paths = forge.write_export(export, output) if output not in {None, "-"} else ()
    if as_json:
        click.echo(shown.as_json("export", _document(export, paths)))
        return
    _show_losses(export)
    if paths:
        for path in paths:
            click.echo(str(path))
    else:
        click.echo(_only(export, env), nl=False)


def _only(export: Export, env: str) -> str:
    """What goes to standard output.

    Raises:
        InvalidValue: several files.
    """
    if len(export.files) == 1:
        return export.files[0].text
    from envforge.errors import InvalidValue

    names = ", ".join(item.name for item in export.files)
    one = f", or `--platform {export.platforms[0]}`" if len(export.platforms) > 1 else ""
    raise InvalidValue(
        what="export",
        value=export.target,
        reason=f"is several files ({names})",
        remedy=f"name a folder for them with `-o FOLDER`{one}",
    )


def _show_losses(export: Export) -> None:
    for loss in export.losses:
        text = textwrap.fill(f"{_LABEL} {_sentence(loss)}", 80, subsequent_indent="  ")
        label = click.style(_LABEL, fg="yellow")
        click.echo(f"{label}{text.removeprefix(_LABEL)}", err=True)


def _sentence(loss: Loss) -> str:
    if not loss.names:
        return loss.what
    return f"{loss.what} ({listed(loss.names, _SHOWN)})"


def _document(export: Export, paths: tuple[Path, ...]) -> dict[str, Any]:
    return {
        "environment": export.environment,
        "to": export.target,
        "platforms": list(export.platforms),
        "files": [
            {
                "name": item.name,
                "sha256": hashlib.sha256(item.text.encode()).hexdigest(),
                **({"path": str(paths[place])} if paths else {"text": item.text}),
            }
            for place, item in enumerate(export.files)
        ],
        "not_held": [{"what": item.what, "names": list(item.names)} for item in export.losses],
    }
