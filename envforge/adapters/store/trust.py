"""Whether a folder can be a store: nobody but its owner, and root, may put anything into it.

Who may write a folder above can swap what lies below; a sticky folder (`/tmp`) forbids that. A
group that only the owner of the store is in, or root, gives nobody anything: Kubernetes hands out
volumes that way (`fsGroup`).
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from envforge.adapters.store import acl
from envforge.errors import UntrustedStore


def check(root: Path) -> None:
    """See that only the owner of `root`, and root, can change what lies there.

    Raises:
        UntrustedStore: it is a symbolic link of somebody else, or others may write it or a
            folder above it.
        OSError: it cannot be looked at.
    """
    real = root.resolve(strict=True)
    found = real.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise UntrustedStore(path=str(root), reason="it is no folder", remedy="name another place")
    if _others_write(real, found, found.st_uid):
        raise UntrustedStore(
            path=str(real),
            reason=f"others than its owner may write it (mode {stat.S_IMODE(found.st_mode):04o})",
            remedy=f"chmod go-w {real}",
        )
    for folder in (root.absolute().parent, *real.parents):
        _check_above(folder, found.st_uid, real)


def check_folder(folder: Path, root: Path) -> None:
    """See that only the owner of a store can change what lies in a folder of it.

    Raises:
        UntrustedStore: others may write it.
        OSError: it cannot be looked at.
    """
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and _others_write(folder, found, found.st_uid):
        raise UntrustedStore(
            path=str(root),
            reason=f"others than its owner may write `{folder.name}` in it"
            f" (mode {stat.S_IMODE(found.st_mode):04o})",
            remedy=f"chmod go-w {folder}, and then: envforge cache verify --deep",
        )


def _check_above(folder: Path, owner: int, real: Path) -> None:
    found = folder.stat()
    if found.st_uid not in {0, owner, os.geteuid()}:
        raise UntrustedStore(
            path=str(real),
            reason=f"`{folder}` above it belongs to user {found.st_uid}, who could swap it",
            remedy=f"chown root {folder}, or take a place under a folder of your own",
        )
    if _others_write(folder, found, owner) and not found.st_mode & stat.S_ISVTX:
        raise UntrustedStore(
            path=str(real),
            reason=f"`{folder}` above it may be written by others"
            f" (mode {stat.S_IMODE(found.st_mode):04o})",
            remedy=f"chmod go-w {folder}, or chmod +t {folder}",
        )


def _others_write(folder: Path, found: os.stat_result, owner: int) -> bool:
    if found.st_mode & stat.S_IWOTH:
        return True
    if not found.st_mode & stat.S_IWGRP:
        return False
    return bool(acl.read(folder, default=False)) or not _is_private(found.st_gid, owner)


def _is_private(group: int, owner: int) -> bool:
    """Whether nobody else is in the group: where umask is 0002, users have groups of their own."""
    try:
        name = pwd.getpwuid(owner).pw_name
        members = set(grp.getgrgid(group).gr_mem)
    except KeyError:
        return False
    users = pwd.getpwall()
    primary = {entry.pw_name for entry in users if entry.pw_gid == group}
    trusted = {name, *(entry.pw_name for entry in users if entry.pw_uid == 0)}
    return bool(primary) and members | primary <= trusted
