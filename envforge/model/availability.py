"""Whether what a lock names can still be fetched, and where else the same bytes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ArchiveState = Literal["there", "gone", "changed", "unknown"]
"""`changed`: something of another size lies there. `unknown`: it could not be asked."""
PlaceKind = Literal["address", "channel", "index", "package-cache", "wheels", "folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherPlace:
    """Where the same file is, or very likely is."""

    kind: PlaceKind
    where: str
    """An address without credentials, or a path."""
    is_proven: bool
    """Whether its hash was compared; else its name, and its size where both are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One locked file that was asked for."""

    name: str
    version: str
    url: str
    """As it is locked."""
    asked: str
    """Where it was asked for, a mirror perhaps; without credentials."""
    platforms: tuple[str, ...]
    state: ArchiveState
    reason: str = ""
    elsewhere: tuple[OtherPlace, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """What asking for every archive of a lock came to."""

    asked: int
    missing: tuple[Archive, ...]
    """Those that are gone or changed, by name."""
    unknown: tuple[Archive, ...]

    @property
    def is_complete(self) -> bool:
        """Whether all of it can be fetched today."""
        return not self.missing and not self.unknown
