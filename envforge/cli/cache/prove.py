"""`envforge cache prove`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.option("--revision", metavar="REV", help="Branch, tag or commit, where several are locked.")
@click.option("--once", is_flag=True, help="Run once, not a second time for the warm figure.")
@click.option(
    "--timeout", default=1800.0, metavar="S", show_default=True, help="Seconds for one run."
)
@options.installed_prefix_option
@options.json_option
@options.forge_options
@options.store_option
@options.environment_argument()
@click.argument("repo")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD...]")
def command(
    forge: Forge,
    *,
    env: str,
    repo: str,
    arguments: tuple[str, ...],
    revision: str | None,
    once: bool,
    timeout: float,
    prefix: Path | None,
    as_json: bool,
) -> None:
    """Load REPO in ENV without a network, and show that it came from the store.

    The kernel tells which files the program and its children open (seccomp, Linux 5.5); each is
    compared by inode with the store's. Every address that they try to reach is refused, and
    named. What loads is transformers' AutoModel where it can, else huggingface_hub; or CMD, which
    is run twice. Exit status 1: something else was read, or somebody was called.
    """
    from envforge.cli.rendering import render_proof

    proof = forge.cache.prove(
        env,
        repo,
        revision=revision,
        command=arguments,
        prefix=prefix,
        once=once,
        timeout=timeout,
    )
    if as_json:
        click.echo(shown.as_json("cache-prove", render_proof.document(proof)))
    else:
        render_proof.show(proof)
    raise SystemExit(0 if proof.passed else 1)
