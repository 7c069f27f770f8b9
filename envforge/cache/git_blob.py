"""What git calls a file's bytes, and so a hub its regular files (gitformat-loose(5))."""

from __future__ import annotations

import hashlib
from typing import Any


def hasher(size: int) -> Any:
    """Takes the bytes of a file of this size; a hash object as hashlib's own, which have no type.

    A header stands before the bytes.
    """
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def name(data: bytes) -> str:
    """The sha1 of a whole file."""
    found = hasher(len(data))
    found.update(data)
    return str(found.hexdigest())
