"""`envforge cache serve`: hardlinks for users who do not own the store."""

from __future__ import annotations

import os
import threading

from envforge.adapters.store.serving.service import Service
from envforge.adapters.store.store import Store
from envforge.errors import ServiceRefused
from envforge.forge.workplace import Workplace


def serve(workplace: Workplace, store: Store, stop: threading.Event) -> None:
    """Answer until `stop` is set.

    Raises:
        ServiceRefused: it is somebody else's, or another process serves it.
    """
    if not store.is_ours:  # nor root: its links would follow what the owner puts in their way
        owner = store.root.stat().st_uid
        raise ServiceRefused(
            path=str(store.root),
            reason=f"it belongs to user {owner}, who alone can safely link its files",
            remedy=f"sudo -u '#{owner}' envforge cache serve --store {store.root}",
        )
    service = Service(store, workplace.settings.views, workplace.reporter.note)
    with service.listening() as listener:
        workplace.reporter.note(f"serving {store.root}, process {os.getpid()}")
        service.serve(listener, stop)
    workplace.reporter.note("stopped")
