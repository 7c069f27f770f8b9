"""`envforge install`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import render, shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@options.environment_argument()
@click.option("--locked", is_flag=True, help="Never solve: fail when the lock is stale. For CI.")
@options.prefix_option
@options.target_host_option
@click.option(
    "--publish",
    "root",
    type=click.Path(path_type=Path),
    metavar="ROOT",
    help="For everybody: a verified, frozen version, and ROOT/ENV leads to it.",
)
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Old versions kept. [3]")
@click.option("--keep-for", metavar="AGE", help="Older ones go so long after they were left. [7d]")
@click.option("--require-gpu", is_flag=True, help="With --publish: fail when no GPU can be tried.")
@click.option("--force", is_flag=True, help="Install though it cannot run here.")
@options.dry_run_option
@options.json_option
@options.forge_options
def command(
    forge: Forge,
    *,
    env: str,
    prefix: Path | None,
    root: Path | None,
    keep: int | None,
    keep_for: str | None,
    require_gpu: bool,
    dry_run: bool,
    as_json: bool,
    locked: bool,
    target_host: bool,
    force: bool,
) -> None:
    """Make a prefix equal to the lock of ENV.

    An environment that differs is repaired by the smallest transaction, after saying
    what changes. A stale lock is solved again first, unless --locked. What this machine's
    driver, GPUs or C library cannot run is refused before anything is downloaded.

    With --publish a version of its own is built, verified and frozen, and only then ROOT/ENV is
    switched to it; `envforge rollback` switches back.
    """
    _refuse_nonsense(
        {"--prefix": prefix, "--target-host": target_host or None},
        {"--keep": keep, "--keep-for": keep_for, "--require-gpu": require_gpu or None},
        publishing=root is not None,
    )
    if root is not None:
        _publish(
            forge,
            env,
            root,
            keep=3 if keep is None else keep,
            keep_for=keep_for or "7d",
            as_json=as_json,
            locked=locked,
            force=force,
            require_gpu=require_gpu,
            dry_run=dry_run,
        )
        return
    if dry_run:
        planned = forge.plan_install(
            env, prefix=prefix, locked=locked, target_host=target_host, force=force
        )
        if as_json:
            click.echo(shown.as_json("install", render.planned_document(planned)))
        else:
            render.show_planned(planned)
        return
    result = forge.install(env, prefix=prefix, locked=locked, target_host=target_host, force=force)
    if as_json:
        click.echo(shown.as_json("install", render.install_document(result)))
    else:
        render.show_installed(result)


def _refuse_nonsense(
    plain: dict[str, object], published: dict[str, object], *, publishing: bool
) -> None:
    wrong = [
        name for name, value in (plain if publishing else published).items() if value is not None
    ]
    if wrong and publishing:
        raise click.UsageError(
            f"{wrong[0]} has no meaning with --publish: ROOT says where it goes."
        )
    if wrong:
        raise click.UsageError(f"{wrong[0]} has a meaning with --publish only.")


def _publish(
    forge: Forge, env: str, root: Path, *, keep_for: str, as_json: bool, **how: object
) -> None:
    from envforge.cache.amounts import parse_age
    from envforge.cli.rendering import render_published

    seconds = parse_age(keep_for, "--keep-for")
    result = forge.publish(env, root, keep_for=seconds, **how)  # type: ignore[arg-type]
    if as_json:
        click.echo(render_published.as_document("install", result))
    else:
        render_published.show(result, "published")
