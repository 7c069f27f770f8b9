"""The exact difference of two locks: `apply(compare(a, b), a)` is `b`."""

from __future__ import annotations

from dataclasses import replace

from envforge.model.difference import LockDifference, PackageChange
from envforge.model.lock import Lock, LockedPackage, place_of

Key = tuple[str, str, str]
"""Platform, name, manager: what a lock holds once."""


def compare(before: Lock, after: Lock) -> LockDifference:
    """Everything that is not the same, sorted."""
    old, new = by_place(before), by_place(after)
    return LockDifference(
        before=replace(before, packages=()),
        after=replace(after, packages=()),
        changes=tuple(
            PackageChange(before=old.get(key), after=new.get(key))
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ),
    )


def apply(difference: LockDifference, lock: Lock) -> Lock:
    """Make the old lock the new one.

    Raises:
        ValueError: it is not the lock that the difference was taken from.
    """
    if replace(lock, packages=()) != difference.before:
        raise ValueError("the difference was taken from another lock")
    packages = by_place(lock)
    for change in difference.changes:
        key: Key = place_of(change.either)
        if packages.pop(key, None) != change.before:
            raise ValueError(f"`{change.either.name}` is not what the difference was taken from")
        if change.after is not None:
            packages[key] = change.after
    ordered = tuple(packages[key] for key in sorted(packages))
    return replace(difference.after, packages=ordered)


def by_place(lock: Lock) -> dict[Key, LockedPackage]:
    """The packages by platform, name and manager."""
    return {place_of(item): item for item in lock.packages}
