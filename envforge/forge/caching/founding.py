"""`envforge cache init`: a store that one user, or a group, can share safely."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envforge.adapters.files import unusable
from envforge.adapters.store import acl
from envforge.adapters.store.acting import acting_as
from envforge.adapters.store.store import READ_ONLY, Store, set_access
from envforge.cache import layout
from envforge.errors import InvalidValue
from envforge.forge.workplace import Workplace
from envforge.model.health import StoreMade

FOR_ALL: Final = 0o755
FOR_GROUP: Final = 0o2750
"""Only the owner writes; folders pass the group on, so that views and files stay in it."""


def found(workplace: Workplace, group: str | None) -> StoreMade:
    """Make the store of the settings, or open the one that is there to another group.

    Raises:
        InvalidValue: no such group, we are not in it, or the folder is somebody else's or holds
            something else.
        UntrustedStore: others may write where it would be.
        FileNotUsable: it cannot be made.
    """
    root = workplace.settings.store
    gid = _gid(group) if group else -1
    was_there = _refuse_other_content(root)
    mode = FOR_GROUP if group else FOR_ALL
    store = Store.create(root, mode=mode, group=gid)
    if not (store.is_ours or os.geteuid() == 0):
        raise InvalidValue(
            what="store",
            value=str(root),
            reason=f"belongs to user {root.stat().st_uid}, who alone can change it",
            remedy="name one of your own with `--store` or `ENVFORGE_STORE`",
        )
    if not was_there or group:
        _open_to(root, mode, gid)
    looked = root.stat()
    return StoreMade(
        path=str(root),
        is_new=not was_there,
        owner=looked.st_uid,
        group=grp_name(looked.st_gid),
        mode=stat.S_IMODE(looked.st_mode),
    )


def grp_name(gid: int) -> str:
    """The group's name, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _gid(group: str) -> int:
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise InvalidValue(
            what="group",
            value=group,
            reason="is not known on this machine",
            remedy=f"sudo groupadd {group}; or `getent group` shows which there are",
        ) from None
    if os.geteuid() != 0 and gid not in {os.getegid(), *os.getgroups()}:
        raise InvalidValue(
            what="group",
            value=group,
            reason="is none of yours, so you cannot give files to it",
            remedy=f"sudo usermod -aG {group} $USER, and log in again",
        )
    return gid


def _refuse_other_content(root: Path) -> bool:
    """Whether a store is there already; a folder that holds anything else is left alone."""
    try:
        names = sorted(os.listdir(root))  # noqa: PTH208 - names only
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unusable(root, error) from error
    if layout.MARKER in names:
        return True
    strange = [name for name in names if name not in layout.FOLDERS]
    if strange:
        raise InvalidValue(
            what="store",
            value=str(root),
            reason=f"holds something else: `{strange[0]}`",
            remedy=f"name an empty folder, `{root / 'envforge-store'}`",
        )
    return False  # begun, and interrupted


def _open_to(root: Path, mode: int, gid: int) -> None:
    """Let every folder of the store have this mode and group; those of views are their users'."""
    owner = root.stat()
    try:
        for folder in _folders(root.resolve()):
            _drop_default_acl(folder)
            set_access(folder, owner, mode=mode, group=gid)
        with acting_as(owner):
            (root / layout.MARKER).chmod(READ_ONLY)  # whatever the umask was
    except OSError as error:
        raise unusable(root, error) from error


def _drop_default_acl(folder: Path) -> None:
    """One that lets others write what is made in it: `--group` is how to share."""
    if acl.writers(folder):
        acl.drop_default(folder)


def _folders(root: Path) -> Iterator[Path]:
    yield root
    views = root / layout.VIEWS
    for path in sorted(root.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield path
    for path in (views / "env", views / "user"):
        if path.is_dir() and not path.is_symlink():
            yield path
    yield from sorted((root / layout.INDEX).glob("??"))
