"""`envforge cache dedupe`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options

if TYPE_CHECKING:
    from envforge.cache.dedupe_plan import Proof
    from envforge.forge import Forge


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="PATH…")
@click.option("--compare", is_flag=True, help="Read every copy wholly, not only the kept one.")
@click.option("--trust-names", is_flag=True, help="Read nothing: a blob is what it is called.")
@click.option("--any-owner", is_flag=True, help="Link files of different owners, too.")
@click.option("--any-mode", is_flag=True, help="... of different permissions and labels.")
@click.option("--undo", is_flag=True, help="Take back the last run, or what of it is in PATH.")
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --undo: the run to take back.",
)
@options.dry_run_option
@options.json_option
@options.forge_options
def command(
    forge: Forge,
    *,
    paths: tuple[Path, ...],
    compare: bool,
    trust_names: bool,
    any_owner: bool,
    any_mode: bool,
    undo: bool,
    journal: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Link equal model files of existing caches: one copy on the disk, every name as it was.

    PATH is a folder with caches: ~/.cache/huggingface, container volumes, --local-dir copies,
    /home. The copy that is kept is read wholly and proven by its hash; of the others samples are
    read. Files are linked within one filesystem, owner and mode.
    """
    from envforge.cli.rendering import render_dedupe

    if compare and trust_names:
        raise click.UsageError("--compare reads everything, --trust-names nothing: choose one")
    if undo:
        if compare or trust_names or any_owner or any_mode or dry_run:
            raise click.UsageError("--undo takes a PATH and --journal only")
        render_dedupe.show_undone(forge.cache.undo_dedupe(paths, journal=journal), as_json=as_json)
        return
    if journal:
        raise click.UsageError("--journal goes with --undo")
    if not paths:
        raise click.UsageError("name a folder with caches, such as ~/.cache/huggingface")
    proof: Proof = "compare" if compare else "trust-names" if trust_names else "default"
    result = forge.cache.dedupe(
        paths, proof=proof, any_owner=any_owner, any_mode=any_mode, dry_run=dry_run
    )
    raise SystemExit(render_dedupe.show_deduped(result, as_json=as_json))
