"""Users of this machine: their names, and what a folder of theirs is called."""

from __future__ import annotations

import os
import re
from typing import Final

_SAFE: Final = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._@-]{0,63}\$?")
"""A name that can be a folder's. Directories of a company have `ann@corp.example` and `HOST$`."""


def name_of(uid: int) -> str:
    """A user's name, or the number of one that has none here."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_of(uid: int) -> int:
    """The group that a user gets at login; -1: the user is not known here."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return -1


def folder_of(uid: int) -> str:
    """What the folder of a user's views is called: the name, else the number.

    A name of digits alone could be another user's number.
    """
    name = name_of(uid)
    is_plain = _SAFE.fullmatch(name) and name not in {os.curdir, os.pardir}
    return name if is_plain and not name.isdigit() else str(uid)
