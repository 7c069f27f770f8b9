"""`envforge git …`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown
from envforge.model.wording import listed

if TYPE_CHECKING:
    from envforge.forge import Forge

_FILE = click.Path(path_type=Path)
_SHOWN = 3


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Make git show and merge conda-lock.yml by its packages.

    \b
    envforge git install
    git diff; git log -p; git merge
    """  # noqa: D301 - click reads the backspace


@command.command()
@click.argument("folder", type=_FILE, required=False)
@click.option("--remove", is_flag=True, help="Take out what was set up.")
@options.json_option
@options.forge_options
def install(forge: Forge, *, folder: Path | None, remove: bool, as_json: bool) -> None:
    """Set up the repository of FOLDER, or of the folder we stand in.

    Its own configuration names the programs, which each clone does for itself; a line
    in .gitattributes, to be committed, names the files. Without the programs git does
    what it always did.
    """
    done = forge.git_install(folder, remove=remove)
    if as_json:
        document = {
            "repository": str(done.repository),
            "settings": list(done.settings),
            "attributes": str(done.attributes),
            "wrote_attributes": done.wrote_attributes,
        }
        click.echo(shown.as_json("git-install", document))
        return
    if not done.settings and not done.wrote_attributes:
        click.echo(f"nothing to do in {done.repository}")
        return
    verb = "took out of" if remove else "set up"
    click.echo(f"{verb} {done.repository}{'' if done.settings else ': settings as they were'}")
    for key in done.settings:
        click.echo(f"  {key}")
    if done.wrote_attributes:
        click.echo(f"  changed {done.attributes}: commit it")


@command.command()
@click.argument("file", type=_FILE)
@options.forge_options
def textconv(forge: Forge, *, file: Path) -> None:
    """Print a lock as lines to compare; git calls it for `git diff`."""
    click.echo(forge.readable_lock(file), nl=False)


@command.command()
@click.argument("base", type=_FILE)
@click.argument("ours", type=_FILE)
@click.argument("theirs", type=_FILE)
@click.argument("path", required=False, default="conda-lock.yml")
@options.forge_options
def merge(forge: Forge, *, base: Path, ours: Path, theirs: Path, path: str) -> None:
    """Merge a lock into OURS; git calls it for `git merge`.

    Ends with 1 unless the result is one side's as a whole: it is a lock without
    conflict marks even then, and has to be solved once before it is committed.
    """
    done = forge.merge_locks(base, ours, theirs)
    if done.is_clean:
        return
    click.echo(f"{path}: {_what_is_left(done.conflicts, by_package=done.by_package)}", err=True)
    quoted = shlex.quote(path)
    if done.is_solved:
        click.echo(f"  git add {quoted}, or take theirs: git checkout --theirs {quoted}", err=True)
    elif done.by_package:
        env = Path(path).parent.name or "ENV"
        then = f"envforge lock {shlex.quote(env)} && git add {quoted}"
        click.echo(f"  merge environment.yml, then: {then}", err=True)
    click.get_current_context().exit(1)


def _what_is_left(conflicts: tuple[str, ...], *, by_package: bool) -> str:
    if not by_package:
        return "merged as text, with conflict marks"
    if not conflicts:
        return "both sides' packages are in it, and no solver has seen them together"
    return f"both sides moved {listed(conflicts, _SHOWN)}; ours was kept"
