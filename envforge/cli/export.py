"""`envforge export`."""

from __future__ import annotations

import hashlib
import re
import shlex
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from envforge.around.outputs.images import BAKING
from envforge.around.outputs.registry import OUTPUTS, PLAIN_NAME
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
    """A format, by the name of its file, too; or the name of a template."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if str(value).startswith("conda-lock"):
            self.fail("a conda-lock.yml lies in the folder of ENV already", param, ctx)
        name = _FILES.get(value, value)
        if name not in self.choices and PLAIN_NAME.fullmatch(str(name)):
            return str(name)  # perhaps somebody's own template: `Forge.export` knows
        return super().convert(name, param, ctx)


_EPILOG = (
    f"NAME is a format: {', '.join(EXPORT_TARGETS)} (sbom: cyclonedx and spdx); or what templates"
    f" make: {', '.join(OUTPUTS)}; or a template of your own."
)


@click.command(epilog=_EPILOG)
@options.environment_argument()
@click.option(
    "--to",
    "target",
    type=_Target((*EXPORT_TARGETS, *OUTPUTS)),
    metavar="NAME",
    required=True,
    help="What to write; see below.",
)
@click.option("--platform", "platforms", metavar="P", multiple=True, help="Only it. Repeatable.")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="A file, or a folder where there are several; - is standard output.",
)
@click.option(
    "--set",
    "given",
    metavar="NAME=VALUE",
    multiple=True,
    help="A setting of what templates write. Repeatable; `--settings` lists them.",
)
@click.option(
    "--settings",
    is_flag=True,
    help="List the settings of what `--to` names, and write nothing.",
)
@click.option(
    "--bake-models",
    type=click.Choice(BAKING),
    help="What an image holds of the models; the rest is mounted. [none]",
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
    given: tuple[str, ...],
    settings: bool,
    bake_models: str | None,
    sha256: bool,
    as_json: bool,
) -> None:
    """Write ENV for other tools, and say what their format cannot hold.

    ENV is an environment, a folder, or another tool's lock: conda-lock.yml, pixi.lock (#NAME
    chooses an environment), an @EXPLICIT file, a conda prefix, REV:PATH of git.
    """
    if settings:
        _show_settings(target, as_json=as_json)
        return
    export = forge.export(
        env, target, platforms=platforms, sha256=sha256, given=_given(given, bake_models)
    )
    paths = forge.write_export(export, output) if output not in {None, "-"} else ()
    if as_json:
        click.echo(shown.as_json("export", _document(export, paths)))
        return
    text = None if paths else _only(export)
    _show_losses(export)
    _show_layers(export)
    if text is not None:
        click.echo(text, nl=False)
        return
    for path in paths:
        click.echo(str(path))
    if export.next:
        click.echo(f"next: {_next(export, paths[0])}", err=True)


def _next(export: Export, first: Path) -> str:
    """The command to copy, with the places that were written to."""
    folder = Path(*first.parts[: len(first.parts) - len(Path(export.files[0].name).parts)])
    places = {"FILE": first, "FOLDER": folder}
    return re.sub(
        r"\b(?:FILE|FOLDER)\b", lambda found: shlex.quote(str(places[found[0]])), export.next
    )


def _only(export: Export) -> str:
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
        text = textwrap.fill(
            f"{_LABEL} {_sentence(loss)}", 80, subsequent_indent="  ", break_on_hyphens=False
        )
        label = click.style(_LABEL, fg="yellow")
        click.echo(f"{label}{text.removeprefix(_LABEL)}", err=True)


def _given(pairs: tuple[str, ...], bake_models: str | None) -> dict[str, str]:
    """Settings as they were typed.

    Raises:
        InvalidValue: one without `=`.
    """
    from envforge.errors import InvalidValue

    found = {} if bake_models is None else {"bake-models": bake_models}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not (name and sign):
            raise InvalidValue(what="--set", value=pair, reason="is not NAME=VALUE")
        found[name] = value
    return found


def _show_settings(target: str, *, as_json: bool) -> None:
    fields = OUTPUTS[target].fields if target in OUTPUTS else ()
    if as_json:
        rows = [
            {"name": item.name, "about": item.about, "default": item.default, "kind": item.kind}
            for item in fields
        ]
        click.echo(shown.as_json("export-settings", {"to": target, "settings": rows}))
        return
    if not fields:
        click.echo(f"`{target}` names no settings", err=True)
    for item in fields:
        default = "must be given" if item.default is None else item.default or "none"
        about = textwrap.fill(item.about, 76, initial_indent="    ", subsequent_indent="    ")
        click.echo(f"{item.name} [{default}]\n{about}")


def _show_layers(export: Export) -> None:
    for layer in export.layers:
        about = "about " if layer.estimated else ""
        click.echo(f"layer: {layer.what}: {about}{shown.size(layer.size)}", err=True)
    if export.layers:
        total = shown.size(sum(item.size for item in export.layers))
        click.echo(f"expected size, without your code: about {total}", err=True)


def _sentence(loss: Loss) -> str:
    if not loss.names:
        return loss.what
    return f"{loss.what} ({listed(loss.names, _SHOWN)})"


def _document(export: Export, paths: tuple[Path, ...]) -> dict[str, Any]:
    layers = [
        {"what": item.what, "bytes": item.size, "estimated": item.estimated}
        for item in export.layers
    ]
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
        **({"layers": layers} if layers else {}),
        "not_held": [{"what": item.what, "names": list(item.names)} for item in export.losses],
    }
