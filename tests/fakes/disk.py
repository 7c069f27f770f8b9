"""What a disk without any fault looks like to `cache doctor`, and one thing else about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from envforge.cache.disk_facts import Folder, HubCache, Surroundings, Trials
from envforge.model.place import Place

STORE = "/srv/models"
OWNER, GROUP = 900, 901


def place(path: str = STORE, **given: Any) -> Place:
    """A folder on a quick local disk with room."""
    about: dict[str, Any] = {
        "path": path,
        "nearest": path,
        "exists": True,
        "owner": OWNER,
        "group": GROUP,
        "mode": 0o755,
        "kind": "ext4",
        "mount": "/srv",
        "options": frozenset({"rw", "relatime"}),
        "device": 7,
        "free_bytes": 500 * 10**9,
        "all_bytes": 1000 * 10**9,
        "free_inodes": 10**7,
        "all_inodes": 10**8,
        "writable": True,
    }
    return Place(**{**about, **given})


def folder(name: str = "ab", **given: Any) -> Folder:
    """One of the store's own folders."""
    about = {"path": f"{STORE}/{name}", "owner": OWNER, "group": GROUP, "mode": 0o755}
    return Folder(**{**about, **given})


def hub_cache(**given: Any) -> HubCache:
    """The user's own cache, as it is by default."""
    about: dict[str, Any] = {
        "place": place("/home/ada/.cache/huggingface/hub", owner=1000, mount="/"),
        "named_by": "HOME",
    }
    return HubCache(**{**about, **given})


def trials(**given: Any) -> Trials:
    """Everything worked."""
    about: dict[str, Any] = {
        "hardlink": "",
        "to_views": "",
        "reflink": "ENOTSUP",
        "flock": "",
        "owner_kept": True,
        "mode_kept": True,
        "read_noted": True,
        "clock_ahead": 0.001,
        "read_rate": 2e9,
    }
    return Trials(**{**about, **given})


def surroundings(**given: Any) -> Surroundings:
    """The store's owner looks at a healthy store."""
    healthy = Surroundings(
        store=place(),
        views=place(f"{STORE}/views"),
        hub=hub_cache(),
        is_store=True,
        trials=trials(),
        folders=(folder(), folder("parts")),
        uid=OWNER,
        umask=0o022,
        protected_hardlinks=True,
    )
    return replace(healthy, **given)
