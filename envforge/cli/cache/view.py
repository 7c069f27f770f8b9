"""`envforge cache view`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from envforge.cli import options
from envforge.cli.failure import to_paste
from envforge.cli.rendering import render, shown
from envforge.model.wording import counted

if TYPE_CHECKING:
    from envforge.forge import Forge
    from envforge.model.views import ViewResult


@click.command()
@click.argument("target", metavar="ENV|USER|DIR", shell_complete=options.complete_environment)
@click.option(
    "--env",
    "environments",
    metavar="ENV",
    multiple=True,
    help="Whose models a user or a folder gets. Repeatable. [all that have models]",
)
@click.option(
    "--model",
    "models",
    metavar="REPO[@REV]",
    multiple=True,
    help="A model that a user or a folder gets, locked or not. Repeatable.",
)
@click.option("--for", "user", metavar="USER", help="Who uses it, and owns its folders. [you]")
@click.option(
    "--flat/--no-flat",
    default=None,
    help="Also one for transformers before 4.22. [where ENV has such]",
)
@click.option("--remove", is_flag=True, help="Take it away; what clients added stays.")
@options.json_option
@options.forge_options
@options.store_option
def command(
    forge: Forge,
    *,
    target: str,
    environments: Sequence[str],
    models: Sequence[str],
    user: str | None,
    flat: bool | None,
    remove: bool,
    as_json: bool,
) -> None:
    """Make or refresh a cache tree of hardlinks, for clients old and new.

    A DIR is written with a slash: ./models. What clients add to a view stays.

    \b
    envforge cache view nlp-bert-torch20-cu118
    envforge cache view ./models --model org/name
    """  # noqa: D301 - click reads the backspace
    if remove:
        results = forge.cache.remove_view(target, user=user)
    else:
        results = forge.cache.view(
            target, environments=environments, models=models, user=user, flat=flat
        )
    if as_json:
        documents = [_document(result) for result in results]
        click.echo(shown.as_json("cache-view", {"views": documents}))
        return
    for line in (line for result in results for line in _lines(result)):
        click.echo(line)
    if not remove:
        whose = f" --for {shlex.quote(user)}" if user else ""
        command = to_paste(f"envforge cache env {shlex.quote(target)}{whose}")
        click.echo(f'next: eval "$({command})"')


def _document(result: ViewResult) -> dict[str, Any]:
    document = asdict(result)
    document["models"] = [
        {
            "repo": model.repo.id,
            "kind": model.repo.kind,
            "commit": model.commit,
            "revision": model.revision,
        }
        for model in result.models
    ]
    return document


def _lines(result: ViewResult) -> Iterator[str]:
    """Problems first."""
    for note in result.notes:
        yield f"note: {note}"
    if result.copied_bytes:
        copies = sum(count for mode, count in result.modes.items() if mode != "hardlink")
        kinds = " and ".join(mode for mode in result.modes if mode != "hardlink")
        yield (
            f"note: {copies} of {sum(result.modes.values())} files are no hardlinks but {kinds}"
            f" ({render.size(result.copied_bytes)}): {result.why_copied}"
        )
    if not result.registered:
        yield "note: the store does not know of it: only who may write the store can tell it"
    if not result.models:
        left = "; what clients added stays" if Path(result.path).is_dir() else ""
        yield f"{_good('removed')} {result.path}: {result.removed} names and files{left}"
        return
    changes = [f"{result.placed} new", *([f"{result.removed} removed"] if result.removed else [])]
    kind = "flat view" if result.layout == "flat" else "view"
    yield f"{_good(kind)} {result.path}"
    yield f"  {counted(result.files, 'file')}, {', '.join(changes)}"
    rows = [
        (m.repo.shown, m.commit[:7], "" if m.revision == m.commit else m.revision)
        for m in result.models
    ]
    yield from (f"  {line}" for line in render.columns(rows))


def _good(text: str) -> str:
    return click.style(text, fg="green", bold=True)
