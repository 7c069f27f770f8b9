"""A directory an environment was, or will be, installed into."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal

from envforge.model.lock import LockedPackage


class PrefixState(Enum):
    """How far a prefix is."""

    ABSENT = "absent"
    INCOMPLETE = "incomplete"
    """An install began here and did not end: never good, finished by the same command."""
    INSTALLED = "installed"
    """An install of ours ended here."""
    FOREIGN = "foreign"
    """A conda environment that envforge did not make."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class InstalledPackage:
    """One package as the prefix's own metadata tells it."""

    name: str
    manager: Literal["conda", "pip"]
    version: str
    build: str = ""
    url: str = ""
    """Empty where the metadata does not say (wheels from an index)."""
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallPlan:
    """The smallest transaction that makes a prefix equal to its lock."""

    prefix: Path
    add: tuple[LockedPackage, ...] = ()
    change: tuple[tuple[InstalledPackage, LockedPackage], ...] = ()
    remove: tuple[InstalledPackage, ...] = ()
    keep: int = 0
    """Number of packages that are already as locked."""

    @property
    def is_empty(self) -> bool:
        """Whether the prefix is already as locked."""
        return not (self.add or self.change or self.remove)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceForecast:
    """What an install will need, known before the first byte is fetched."""

    download_bytes: int
    cache_bytes: int
    """Unpacked into the package cache."""
    prefix_bytes: int
    """Written into the prefix: small where files are hardlinked."""
    inodes: int
    estimated: int
    """Number of packages whose size is not known and was estimated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallResult:
    """What an install did."""

    prefix: Path
    plan: InstallPlan
    forecast: SpaceForecast
    link_mode: Literal["hardlink", "reflink", "copy", "none"]
    """How files came from the package cache; `none` where nothing was to do."""
    downloaded: int
    """Number of archives fetched; the others were in the cache."""
    bytecode: Literal["compiled", "background", "skipped"]
    seconds: float
