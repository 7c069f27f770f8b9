"""`envforge cache serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from envforge.cli import options

if TYPE_CHECKING:
    from envforge.forge import Forge


@click.command()
@options.forge_options
@options.store_option
def command(forge: Forge) -> None:
    """Make hardlinks for users who do not own the store, until it is stopped.

    Linux lets only the owner of a file link it. Run this as the store's owner; users
    run `envforge cache view` as always. It links into folders of whoever asks, and nothing else.

    \b
    systemd-run --unit envforge-models envforge cache serve --store /srv/models
    """  # noqa: D301 - click reads the backspace
    import signal
    import threading

    stop = threading.Event()

    def end(*_: Any) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        forge.cache.serve(stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
