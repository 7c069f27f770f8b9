"""`envforge cache doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.option("--no-speed", is_flag=True, help="Do not measure how quick reading is.")
@options.json_option
@options.forge_options
@options.store_option
def command(forge: Forge, *, no_speed: bool, as_json: bool) -> None:
    """Say what about the store's disk, and the settings around it, is in the way.

    Works before there is a store, too. What it tries, it tries with small files of its own.
    """
    from envforge.cli.rendering import render_health

    diagnosis = forge.cache.doctor(speed=not no_speed)
    if as_json:
        click.echo(shown.as_json("cache-doctor", render_health.diagnosis_document(diagnosis)))
    else:
        render_health.show_diagnosis(diagnosis)
    raise SystemExit(0 if diagnosis.passed else 1)
