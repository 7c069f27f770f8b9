"""Leases: what is being used right now, so that no collection takes it away.

A lease is a file that names hashes. It is written before the store is looked into, and touched
while its holder lives, so a holder on another host that shares the disk counts, too.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from envforge.adapters.files import write_text
from envforge.adapters.store import holders
from envforge.adapters.store.acting import acting_as
from envforge.cache import layout
from envforge.errors import InvalidFile

BEAT: Final = 30.0
"""Seconds between two signs of life."""
DEAD_AFTER: Final = 900.0
"""Seconds without one after which a lease of another host is taken for dead."""


@contextlib.contextmanager
def lease(root: Path, hashes: Iterable[str], *, purpose: str) -> Iterator[Path]:
    """Keep these files from collection until the block ends.

    Raises:
        FileNotUsable: the store cannot be written.
    """
    path = root / layout.LEASES / f"{purpose}-{os.getpid()}-{secrets.token_hex(4)}.json"
    document, owner = {"holder": holders.me(), "hashes": sorted(hashes)}, root.stat()
    with acting_as(owner):
        write_text(path, json.dumps(document) + "\n", mode=0o644)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, ended), daemon=True)
    beating.start()
    try:
        yield path
    finally:
        ended.set()
        beating.join()
        with acting_as(owner):
            path.unlink(missing_ok=True)


def leased(root: Path, *, ahead: float = 0.0, tidy: bool = True) -> frozenset[str]:
    """All hashes that a live lease names.

    Args:
        root: of the store.
        ahead: seconds by which the clock of the store's filesystem is ahead of ours: a file
            server's may differ, and with ours every lease of another host could look dead.
        tidy: remove leases of the dead on the way.

    Raises:
        InvalidFile: one that cannot be read, so that nothing is taken for unused by mistake.
    """
    found: set[str] = set()
    for path in (root / layout.LEASES).glob("*.json"):
        try:
            looked = path.stat()
            holder, hashes = _read(path, looked.st_ino, looked.st_size)
        except FileNotFoundError:
            continue  # given back meanwhile
        if _is_alive(holder, time.time() + ahead - looked.st_mtime):
            found.update(hashes)
        elif tidy:
            with contextlib.suppress(OSError):  # who may only read leaves it to the store's owner
                path.unlink(missing_ok=True)
    return frozenset(found)


@functools.lru_cache(maxsize=64)
def _read(path: Path, _inode: int, _size: int) -> tuple[str, frozenset[str]]:
    """Its holder and its hashes: a lease is touched, and never written again."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return str(document["holder"]), frozenset(map(str, document["hashes"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidFile(
            path=str(path),
            mistakes=("it is no lease",),
            remedy=f"when nothing uses the store: `rm {path}`",
        ) from error


def _is_alive(holder: str, age: float) -> bool:
    gone = holders.is_gone(holder)
    return age < DEAD_AFTER if gone is None else not gone


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with contextlib.suppress(OSError):  # a server that is away for a while: the next one counts
            os.utime(path, follow_symlinks=False)
