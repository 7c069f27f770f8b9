"""`envforge cache scan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from envforge.cache.usage import Grouping, Usage
from envforge.cli import options

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.argument("caches", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@click.option(
    "--by",
    "groupings",
    type=click.Choice(get_args(Grouping)),
    multiple=True,
    help="What a row is. Repeatable. [repo, environment]",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also draw who uses what, as a treemap: .svg or .png.",
)
@options.json_option
@options.forge_options
@options.store_option
def command(
    forge: Forge,
    *,
    caches: tuple[Path, ...],
    groupings: tuple[Grouping, ...],
    plot: Path | None,
    as_json: bool,
) -> None:
    """Show who uses what: every file of the store and its views, counted once.

    SHARED is used by another row, too; OWN by this one alone; UNUSED by nothing: `gc` removes it
    from the store, a client's own `hf cache prune` from its cache. READ is the last read that the
    disk knows of: reads through read-only mounts, as containers have them, leave no trace.

    \b
    PATH   more caches of huggingface_hub to look at, `~/.cache/huggingface/hub`
    """  # noqa: D301 - click reads the backspace
    from envforge.cli.rendering import render_usage

    if plot:
        from envforge.adapters.plot import refuse_undrawable

        refuse_undrawable(plot)
    usage = forge.cache.scan(caches)
    if plot:
        _draw(render_usage.title(usage), usage, plot)
    if as_json:
        click.echo(render_usage.usage_json(usage))
        return
    render_usage.show(usage, groupings or ("repo", "environment"))


def _draw(title: str, usage: Usage, path: Path) -> None:
    from envforge.adapters.plot_usage import write_treemap
    from envforge.cache.treemap import shares

    write_treemap(shares(usage), path, title)
    click.echo(f"wrote {path}", err=True)
