"""Which files have to come, and whether there is room for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from envforge.cache import layout
from envforge.errors import HostileRepo, StoreFull
from envforge.model.fetching import FetchPlan, Wanted
from envforge.model.prefix import Disk

_BLOCK: Final = 4096
"""Bytes that a file takes at least, and is rounded up to, on ext4, xfs and btrfs."""
_FOLDERS: Final = 256
"""Folders of two hexadecimal digits, in the store and in its index: each at most."""
_INODES_A_FILE: Final = 3
"""The file, its name in the index, its claim while it comes."""


def plan_fetch(
    wanted: Iterable[Wanted],
    holds: Callable[[Wanted], bool],
    at_hand: Callable[[Wanted], int],
) -> FetchPlan:
    """Part the wanted files in those that are there and those that have to come.

    Args:
        wanted: files of any repositories; of equal ones the first counts.
        holds: whether the store has one, with its size.
        at_hand: bytes of one that an interrupted prefill has left.

    Raises:
        HostileRepo: a hash is none.
    """
    files = {item.key: item for item in wanted}
    for item in files.values():
        check_names(item)
    present = {key: item for key, item in files.items() if holds(item)}
    missing = sorted(
        (item for key, item in files.items() if key not in present),
        key=lambda item: (-item.size, item.key),
    )
    return FetchPlan(
        present=tuple(present.values()),
        missing=tuple(missing),
        at_hand=sum(min(at_hand(item), item.size) for item in missing),
    )


def check_names(item: Wanted) -> None:
    """See that its hashes, which become names of files, are what they should be.

    Its path does not, here; whoever read the lock, or asked the hub, has looked at that.

    Raises:
        HostileRepo: they are not.
    """
    sha256 = item.sha256 or "0" * 64
    if not layout.is_blob_name(item.blob) or not layout.SHA256.fullmatch(sha256) or item.size < 0:
        reason = "is told with a hash or a size that is none"
        raise HostileRepo(repo=item.repo.shown, path=item.path, reason=reason)


def check_room(plan: FetchPlan, disk: Disk) -> None:
    """Compare with what the disk, and our quota on it, have left.

    Raises:
        StoreFull: for the first thing that would run out; nothing was written.
    """
    if not plan.missing:
        return
    room = sum(-(-item.size // _BLOCK) * _BLOCK for item in plan.missing) - plan.at_hand
    inodes = len(plan.missing) * _INODES_A_FILE + min(len(plan.missing), _FOLDERS) * 2
    limits = (
        ("bytes", max(0, room), disk.free_bytes),
        ("quota bytes", max(0, room), disk.quota_bytes),
        ("inodes", inodes, disk.free_inodes),
        ("quota files", inodes, disk.quota_files),
    )
    for resource, needed, available in limits:
        if available is not None and needed > available:
            raise StoreFull(path=disk.path, resource=resource, needed=needed, available=available)
