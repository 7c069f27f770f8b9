"""Looks at the store's disk and at what surrounds it; `cache/disk_checks.py` judges."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from envforge.adapters.machine.mountinfo import Mount, mount_of, read_mounts
from envforge.adapters.store import acl, trust
from envforge.adapters.store.looking import trials
from envforge.adapters.store.store import Store
from envforge.cache import hub_variables, layout
from envforge.cache.disk_facts import Folder, HubCache, Surroundings
from envforge.errors import EnvforgeError, UntrustedStore
from envforge.model.place import Place

_SHOWN: Final = 5
_MOST_LOCKS: Final = 20_000
"""Entries of a hub cache that are looked at."""
_LARGE: Final = 64 << 20
_INNER: Final = (*layout.FOLDERS, f"{layout.VIEWS}/registry")
_CONTAINERS: Final = ("/.dockerenv", "/run/.containerenv", "/.singularity.d")


def look(
    store: Path, views: Path, environment: Mapping[str, str], *, home: Path, speed: bool
) -> Surroundings:
    """Look at everything; what cannot be seen is None in the answer.

    Args:
        store: where the store is, or will be.
        views: where views lie, or will.
        environment: the variables of the process.
        home: the user's home folder.
        speed: measure how quick reading is: up to three seconds.
    """
    mounts = _mounts()
    is_store = _is_there(store / layout.MARKER)
    store_place, views_place = place(store, mounts), place(views, mounts)
    reason, remedy = _distrust(Path(store_place.nearest))
    variables = {name: environment[name] for name in hub_variables.READ if environment.get(name)}
    return Surroundings(
        store=store_place,
        views=views_place,
        hub=_hub(variables, home, mounts),
        is_store=is_store,
        distrust=reason if is_store or store_place.exists else "",
        distrust_remedy=remedy,
        trials=trials.try_out(
            store / layout.PARTS if is_store else Path(store_place.nearest),
            Path(views_place.nearest),
            speed=speed,
            sample=_large_file(store) if is_store and speed else None,
        ),
        folders=tuple(_folders(store)) if is_store else (),
        variables=variables,
        uid=os.geteuid(),
        umask=umask(),
        protected_hardlinks=protected_hardlinks(),
        is_served=is_store and _is_served(store),
        in_container=any(_is_there(Path(item)) for item in _CONTAINERS),
        quarantined=_count(store / layout.QUARANTINE),
    )


def place(path: Path, mounts: Sequence[Mount] | None = None) -> Place:
    """A folder, or what is nearest above it that we can see, and the disk it is on."""
    path = path.absolute()
    nearest = next(item for item in (path, *path.parents) if _is_there(item))
    found, disk = nearest.stat(), os.statvfs(nearest)
    mount = mount_of(str(nearest.resolve()), _mounts() if mounts is None else mounts)
    return Place(
        path=str(path),
        nearest=str(nearest),
        exists=nearest == path,
        owner=found.st_uid,
        group=found.st_gid,
        mode=stat.S_IMODE(found.st_mode),
        kind=mount.kind if mount else None,
        mount=mount.point if mount else None,
        options=mount.options if mount else frozenset(),
        device=found.st_dev,
        free_bytes=disk.f_bavail * disk.f_frsize,
        all_bytes=disk.f_blocks * disk.f_frsize,
        free_inodes=disk.f_favail if disk.f_files else None,
        all_inodes=disk.f_files or None,
        writable=os.access(nearest, os.W_OK | os.X_OK),
    )


def _mounts() -> Sequence[Mount]:
    try:
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ()
    return read_mounts(text)


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _distrust(folder: Path) -> tuple[str, str]:
    """Why others could put files into it, and the remedy; empty: they cannot."""
    try:
        trust.check(folder)
    except UntrustedStore as error:
        return error.reason, error.remedy
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}", "ask its owner to open it to you"
    return "", ""


def _folders(store: Path) -> Iterator[Folder]:
    """The store's own folders; those of views belong to their users."""
    for path in (store, *sorted(store.glob("[0-9a-f][0-9a-f]")), *(store / n for n in _INNER)):
        try:
            found = path.lstat()
            writers = acl.writers(path)
        except OSError:  # not made yet, or not for us to see: the other checks say so
            continue
        yield Folder(
            path=str(path),
            owner=found.st_uid,
            group=found.st_gid,
            mode=stat.S_IMODE(found.st_mode),
            acl_writers=writers,
        )


def _large_file(store: Path) -> Path | None:
    """A file that is long enough to measure with; looking for it stays short."""
    try:
        for entry in islice(Store(store).blobs(), 2000):
            if entry.stat(follow_symlinks=False).st_size >= _LARGE:
                return Path(entry.path)
    except OSError:
        return None
    return None


# --- the process ----------------------------------------------------------------------------


def umask() -> int | None:
    """Read, since `os.umask` would set it for every thread."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1], 8) for line in lines if line.startswith("Umask:")), None)


def protected_hardlinks() -> bool | None:
    """Whether only who may write a file can link it (proc_sys_fs(5)); None: not told."""
    try:
        text = Path("/proc/sys/fs/protected_hardlinks").read_text(encoding="ascii")
    except OSError:
        return None
    return text.strip() != "0"


def _is_served(store: Path) -> bool:
    from envforge.adapters.store.serving import service_client

    try:
        client = service_client.connect(store)
    except EnvforgeError:
        return False
    if client is None:
        return False
    client.close()
    return True


def _count(folder: Path) -> int:
    try:
        return len(os.listdir(folder))  # noqa: PTH208 - names only
    except OSError:
        return 0


# --- the hub's own cache --------------------------------------------------------------------


def _hub(variables: Mapping[str, str], home: Path, mounts: Sequence[Mount]) -> HubCache:
    named, by = hub_variables.hub_cache(variables, str(home))
    path = Path(os.path.expanduser(os.path.expandvars(named)))  # noqa: PTH111 - as the hub does
    foreign = [str(item) for item in _foreign(path)]
    return HubCache(
        place=place(path, mounts),
        named_by=by,
        foreign=tuple(foreign[:_SHOWN]),
        foreign_count=len(foreign),
    )


def _foreign(hub: Path) -> Iterator[Path]:
    """What huggingface_hub must write, and we may not: repositories, lock folders, locks."""
    for path in islice(_written(hub), _MOST_LOCKS):
        try:
            ours = path.lstat().st_uid == os.geteuid()
        except OSError:  # removed meanwhile
            continue
        if not ours and not os.access(path, os.W_OK):
            yield path


def _written(hub: Path) -> Iterator[Path]:
    if _is_there(hub):
        yield hub
    for path in _listed(hub):
        if path.name == ".locks":
            yield path
            for repo in _listed(path):
                yield repo
                yield from _listed(repo)
        elif layout.REPO_FOLDER.fullmatch(path.name):
            yield path
            yield from (path / name for name in ("refs", "blobs", "snapshots"))


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
