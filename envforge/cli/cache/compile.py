"""`envforge cache compile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options

if TYPE_CHECKING:
    from envforge.forge import Forge

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@options.environment_argument()
@click.option("--try", "attempt", is_flag=True, help="Compile a small function: hit or miss?")
@click.option("--share", is_flag=True, help="Give what you compiled to all who enter ENV.")
@click.option("--pack", type=_FILE, metavar="FILE", help="Put it into a tar.")
@click.option("--unpack", type=_FILE, metavar="FILE", help="Take it from a tar that you trust.")
@click.option("--gc", "collect", is_flag=True, help="Remove the least recently used.")
@click.option("--limit", metavar="SIZE", help="With --gc: what may stay. [10G]")
@click.option(
    "--older-than",
    metavar="AGE",
    help="With --gc: only what was not used for so long; many disks note it once a day. [1h]",
)
@options.installed_prefix_option
@options.dry_run_option
@options.json_option
@options.forge_options
def command(
    forge: Forge,
    *,
    env: str,
    attempt: bool,
    share: bool,
    pack: Path | None,
    unpack: Path | None,
    collect: bool,
    limit: str | None,
    older_than: str | None,
    prefix: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show what torch.compile, Triton and the CUDA driver keep for ENV on this machine.

    Activation keeps it in a folder of yours for each environment and kind of machine (processor
    level and GPUs). What is shared lies read-only in the environment; at the next activation it
    is linked below your own folder, and what you compile anew replaces a link.

    \b
    envforge cache compile ENV --try                hit or miss?
    envforge cache compile ENV --share              by its owner, after a run
    envforge cache compile ENV --pack kernels.tar   for equal machines
    envforge cache compile ENV --gc --limit 5G --dry-run
    """  # noqa: D301 - click reads the backspace
    from envforge.cache.amounts import parse_age, parse_bytes
    from envforge.cli.rendering import render_compile

    if sum(map(bool, (attempt, share, pack, unpack, collect))) > 1:
        raise click.UsageError("--try, --share, --pack, --unpack and --gc exclude one another.")
    if not collect and (dry_run or limit or older_than):
        raise click.UsageError("--limit, --older-than and --dry-run go with --gc.")
    if attempt:
        tried = forge.cache.try_compile(env, prefix=prefix)
        render_compile.show_trial(tried, as_json=as_json)
        return
    if share:
        change = forge.cache.share_compiled(env, prefix=prefix)
    elif pack is not None:
        change = forge.cache.pack_compiled(env, pack, prefix=prefix)
    elif unpack is not None:
        change = forge.cache.unpack_compiled(env, unpack, prefix=prefix)
    elif collect:
        change = forge.cache.collect_compiled(
            env,
            limit=parse_bytes(limit or "10G", "--limit"),
            older_than=parse_age(older_than or "1h", "--older-than"),
            prefix=prefix,
            dry_run=dry_run,
        )
    else:
        render_compile.show(forge.cache.compiled(env, prefix=prefix), as_json=as_json)
        return
    render_compile.show_change(change, as_json=as_json)
