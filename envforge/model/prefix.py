"""A directory an environment was, or will be, installed into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    md5: str = ""
    """Conda only, where it was asked for; some tools record no sha256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallRecord:
    """What our marker in `conda-meta/` says of the last install of ours."""

    digest: str
    """`install.plan.lock_digest` of the packages; what the install was to become."""
    complete: bool
    """False from before the first change until after the last."""
    environment: str = ""
    """Folder of the lock it was installed from: how `--prefix` installs are found again."""
    variables: tuple[str, ...] = ()
    """Names of the activation variables that the lock brought, sorted; others are the user's."""
    wheels: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each wheel that was installed, by normalised name: dist-info does not keep it."""
    published: bool = False
    """Whether it was frozen for everybody (`install --publish`); then nothing may change it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixContents:
    """What is in a prefix, as its own metadata tells it."""

    state: PrefixState
    packages: tuple[InstalledPackage, ...] = ()
    """Sorted; a distribution that a conda package brought counts as that package only."""
    damaged: frozenset[InstalledPackage] = frozenset()
    """Packages with missing or cut files; not looked for in an environment that is not ours."""
    unreadable: bool = False
    """Whether a package record was cut off; that package counts as not installed."""
    record: InstallRecord | None = None
    """None: envforge did not install here, or did not get as far as saying so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """What a filesystem, and the user's quota on it, have left."""

    path: str
    device: int
    """`st_dev`: files can be hardlinked within one device only."""
    free_bytes: int
    free_inodes: int | None = None
    """None: the filesystem has no fixed number of them."""
    quota_bytes: int | None = None
    """None: no quota, or none that could be read."""
    quota_files: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFacts:
    """What is known of a package's archive before anything is fetched."""

    cached: bool = False
    """It lies unpacked in the cache."""
    size: int | None = None
    """Bytes of the archive."""
    unpacked_bytes: int | None = None
    files: int | None = None


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
    """New files and folders, in cache and prefix together."""
    estimated: int
    """Number of packages whose size is not known and was estimated."""
    wheel_cache_bytes: int = 0
    """Unpacked into the cache of wheels, which may lie elsewhere."""
    prefix_inodes: int = 0
    """The part of `inodes` that is the prefix's."""


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
    """`background`: a process that stays behind compiles; until then imports are slower."""
    seconds: float
    skipped_scripts: tuple[str, ...] = ()
    """Packages whose post-link script was not run."""
