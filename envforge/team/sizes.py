"""What two locks weigh: to download, and on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from envforge.model.difference import Amount, SizeRow
from envforge.model.lock import Lock, LockedPackage

OnDisk = Callable[[LockedPackage], tuple[int, bool] | None]
"""Bytes of an unpacked package, and whether that is an estimate; None: nobody can tell."""


def rows(old: Lock, new: Lock, platforms: Iterable[str], on_disk: OnDisk) -> tuple[SizeRow, ...]:
    """One row a platform."""
    return tuple(
        SizeRow(
            platform=platform,
            download=(_download(before), _download(after)),
            disk=(_disk(before, on_disk), _disk(after, on_disk)),
        )
        for platform in platforms
        for before, after in [(old.for_platform(platform), new.for_platform(platform))]
    )


def _download(packages: Sequence[LockedPackage]) -> Amount:
    known = [item.size for item in packages if item.size is not None]
    return Amount(total=sum(known), unknown=len(packages) - len(known))


def _disk(packages: Sequence[LockedPackage], on_disk: OnDisk) -> Amount:
    known = [amount for item in packages if (amount := on_disk(item)) is not None]
    return Amount(
        total=sum(number for number, _ in known),
        estimated=sum(is_estimate for _, is_estimate in known),
        unknown=len(packages) - len(known),
    )
