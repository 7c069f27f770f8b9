"""Proven hashes, kept for the inode as our own links have left it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress

from envforge.adapters.store.dedupe.folders import Changed, Folders, is_same
from envforge.adapters.store.dedupe.outcome import Known
from envforge.adapters.store.known_hashes import SETTLED, KnownHashes, kind_of


def add_proven(known: KnownHashes, proven: Iterable[Known]) -> None:
    """Look at each file again: links changed its times, and nothing else may have."""
    proven = list(proven)
    if not proven:
        return
    folders = Folders()
    time.sleep(SETTLED / 1e9)  # so that a write after this look leaves another time
    looked_at = time.time_ns()
    for copy, claim, read_at in proven:
        if read_at - copy.found.st_mtime_ns < SETTLED:
            continue  # might have been written again within the same tick
        with suppress(Changed, OSError):  # gone, or written: then there is nothing to remember
            folder, name = copy.names[0]
            found = os.stat(name, dir_fd=folders.enter(folder), follow_symlinks=False)
            if is_same(found, copy.found):
                known.add(found, claim, kind_of(claim), read_at=looked_at)
    folders.close()
