"""Two locks that grew from one, put together package by package.

What comes out is a lock that every tool reads, never a text with conflict marks. It counts as
solved only where each platform is one side's as a whole and was locked from the same inputs:
packages that were chosen apart may not fit together, and no solver has seen them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeVar

from envforge.model.lock import UNSOLVED, Lock, LockedPackage
from envforge.team.difference import Key, by_place

T = TypeVar("T")
_REASON: Final = "it was merged from two locks, and never solved as it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge came to."""

    lock: Lock
    is_solved: bool
    """Whether it is as one solver left it; else the lock says of itself that it is not."""
    conflicts: tuple[LockedPackage, ...] = ()
    """Packages that both sides moved, each elsewhere: ours was kept."""


def merge(base: Lock, ours: Lock, theirs: Lock) -> Merged:
    """Put two locks together."""
    header = _header(base, ours, theirs)
    packages: list[LockedPackage] = []
    conflicts: list[LockedPackage] = []
    is_solved = True
    for platform in header.platforms:
        chosen, clashing = _platform(platform, base, ours, theirs)
        packages += chosen
        conflicts += clashing
        is_solved &= any(
            UNSOLVED not in side.metadata
            and side.for_platform(platform) == chosen
            and _inputs(side, platform) == _inputs(header, platform)
            for side in (ours, theirs)
        )
    metadata = {key: value for key, value in header.metadata.items() if key != UNSOLVED}
    if not is_solved:
        metadata[UNSOLVED] = _REASON
    lock = replace(header, packages=tuple(packages), metadata=metadata)
    return Merged(lock=lock, is_solved=is_solved, conflicts=tuple(conflicts))


def _header(base: Lock, ours: Lock, theirs: Lock) -> Lock:
    """Every field by itself; where both changed one, ours."""
    values: dict[str, Any] = {
        field.name: _three_way(
            getattr(base, field.name), getattr(ours, field.name), getattr(theirs, field.name)
        )
        for field in fields(Lock)
        if field.name not in {"packages", "content_hash"}
    }
    hashes = (base.content_hash, ours.content_hash, theirs.content_hash)
    values["content_hash"] = {
        platform: found
        for platform in values["platforms"]
        if (found := _three_way(*(item.get(platform) for item in hashes)))
    }
    return Lock(packages=(), **values)


def _three_way(base: T, ours: T, theirs: T) -> T:
    return theirs if ours == base else ours


def _platform(
    platform: str, base: Lock, ours: Lock, theirs: Lock
) -> tuple[tuple[LockedPackage, ...], list[LockedPackage]]:
    """One platform's packages, and those that both sides moved elsewhere."""
    sides = [item.for_platform(platform) for item in (base, ours, theirs)]
    maps = [by_place(replace(base, packages=side)) for side in sides]
    rows = list(_rows(*maps))
    chosen = tuple(package for package, _ in rows if package is not None)
    return chosen, [clash for _, clash in rows if clash is not None]


def _rows(
    base: Mapping[Key, LockedPackage],
    ours: Mapping[Key, LockedPackage],
    theirs: Mapping[Key, LockedPackage],
) -> Iterator[tuple[LockedPackage | None, LockedPackage | None]]:
    """The package that is taken, and the one that was left for it."""
    for key in sorted(base.keys() | ours.keys() | theirs.keys()):
        old, mine, other = base.get(key), ours.get(key), theirs.get(key)
        both_moved = mine not in (old, other) and other != old
        yield _three_way(old, mine, other), (mine or other) if both_moved else None


def _inputs(lock: Lock, platform: str) -> tuple[str | None, str | None]:
    """What a platform was locked from."""
    return lock.inputs_digest, lock.content_hash.get(platform)
