"""`envforge doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import shown

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@click.option("--no-network", is_flag=True, help="Do not ask channels, wheel indexes and the hub.")
@click.option("--no-speed", is_flag=True, help="Do not measure how quick the store's disk is.")
@options.json_option
@options.forge_options
@options.store_option
def command(forge: Forge, *, no_network: bool, no_speed: bool, as_json: bool) -> None:
    """Say what is wrong with this server, for all who work on it.

    Driver, GPUs and who holds their memory, disks, quotas, the shared package cache, the model
    store, channels and hub, clock, umask: what is wrong, each with the command that mends it.
    Nothing is changed.
    """
    from envforge.cli.rendering import render_doctor

    checkup = forge.doctor(network=not no_network, speed=not no_speed)
    if as_json:
        click.echo(shown.as_json("doctor", render_doctor.document(checkup)))
    else:
        render_doctor.show(checkup)
    raise SystemExit(0 if checkup.passed else 1)
