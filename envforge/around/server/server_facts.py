"""What `envforge doctor` saw of the machine, beyond what other checks look at: data only.

None always means: it could not be looked at. What judges it is in `checks/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from envforge.model.place import Place

ENVIRONMENTS: Final = "environments"
CACHE: Final = "package cache"
HOME: Final = "home"
TEMPORARY: Final = "temporary files"
OWN: Final = "envforge's cache"
"""Names of places, as they are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A folder that work needs, with its disk."""

    name: str
    """`environments`, `package cache`, `home` …"""
    place: Place
    quota_bytes: int | None = None
    """What the user's quota leaves; None: there is none, or none is seen."""
    quota_files: int | None = None

    @property
    def is_remote(self) -> bool:
        """Whether it is on a file server, whose quotas are not seen from here."""
        return (self.place.kind or "") in _REMOTE


_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "gpfs", "beegfs", "9p"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageCache:
    """One folder of unpacked packages, as conda and envforge share it."""

    place: Place
    is_ours: bool
    """Whether it is the one that packages go into."""
    is_hidden: bool = False
    """Whether a folder above it may not be entered, so that nobody knows what is there."""
    is_closed: bool = False
    """Whether it is there, and may not be looked into."""
    packages: int = 0
    closed: tuple[str, ...] = ()
    """Packages in it that we may not read; the first few."""
    closed_count: int = 0
    foreign_count: int = 0
    """Packages in it that belong to others, and that we may not write."""
    leftovers: tuple[str, ...] = ()
    """What interrupted downloads and extractions left, older than a day; the first few."""
    leftover_count: int = 0


Cause = Literal["", "login", "proxy", "forbidden", "busy", "certificate", "validity"]
"""What has a remedy of its own; `validity`: the certificate's time is over, or still to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server or folder that packages or models come from."""

    name: str
    """`conda-forge`, `pypi`, `hub` …"""
    kind: Literal["channel", "wheel index", "hub"]
    url: str
    """Where it is read, without credentials."""
    optional: bool = False
    """Whether only some environments need it."""
    state: Literal["answers", "silent", "fails", "refuses", "missing", "offline"] = "answers"
    """`refuses`: it asks for a login or a proxy does; `missing`: no such channel there."""
    reason: str = ""
    cause: Cause = ""
    milliseconds: float | None = None
    clock_ahead: float | None = None
    """Seconds that its clock is ahead of ours; servers tell whole seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """Everything at once."""

    spots: tuple[Spot, ...] = ()
    caches: tuple[PackageCache, ...] = ()
    addresses: tuple[Address, ...] = ()
    uid: int = 0
    umask: int | None = None
    login_umask: int | None = None
    """What new logins get, by login.defs(5)."""
    protected_hardlinks: bool | None = None
    clock_kept: bool | None = None
    """Whether the kernel says that something keeps its clock right (adjtimex(2))."""

    def spot(self, name: str) -> Spot | None:
        """One of them by its name."""
        return next((item for item in self.spots if item.name == name), None)
