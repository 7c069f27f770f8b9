"""What differs between two locks, exactly and as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from envforge.model.lock import Lock, LockedPackage
from envforge.model.solving import without_credentials

if TYPE_CHECKING:
    from envforge.model.models import ModelChange

MoveKind = Literal[
    "added",
    "removed",
    "upgraded",
    "downgraded",
    "changed",
    "rebuilt",
    "other-source",
    "other-bytes",
]
"""`changed`: two versions that have no order. `rebuilt`: another build of one version.
`other-source`: the same build from another channel, index or package manager. `other-bytes`: the
same file name with another hash."""

Why = Literal["asked", "because", "fresh", "unknown"]
"""`asked`: a direct dependency. `because`: what moved would not fit otherwise, came along or was
no longer needed. `fresh`: it would have fitted as it was. `unknown`: a lock does not say what
its packages need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageChange:
    """One package of one platform that is not the same in two locks, as both hold it."""

    before: LockedPackage | None
    """None: it is new."""
    after: LockedPackage | None
    """None: it is gone."""

    @property
    def either(self) -> LockedPackage:
        """The package that is there."""
        found = self.after or self.before
        assert found is not None  # noqa: S101 - one of the two is
        return found

    @property
    def is_material(self) -> bool:
        """Whether something else would be installed, or fetched from elsewhere.

        Sizes and recorded dependencies are what one tool writes down and another does not.
        """
        old, new = self.before, self.after
        if old is None or new is None:
            return True
        if (old.version, old.build) != (new.version, new.build):
            return True
        if _disagree(old.sha256, new.sha256) or _disagree(old.md5, new.md5):
            return True
        return _disagree(origin(old), origin(new))


def origin(package: LockedPackage) -> str:
    """The channel, or the host that a wheel is served by; empty: it is not known.

    Without credentials, whatever the lock holds.
    """
    if not package.url:
        return ""
    if package.manager == "conda":
        return without_credentials(package.channel_url)
    parts = urlsplit(package.url)
    return without_credentials(f"{parts.scheme}://{parts.netloc}")


def _disagree(one: str, other: str) -> bool:
    """Whether two records contradict each other: what a tool does not record says nothing."""
    return bool(one and other and one != other)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockDifference:
    """Everything by which one lock becomes another: `team.difference.apply` does that."""

    before: Lock
    """The old lock without its packages."""
    after: Lock
    """The new lock without its packages."""
    changes: tuple[PackageChange, ...]
    """By platform, name and manager."""

    @property
    def material(self) -> tuple[PackageChange, ...]:
        """The changes that something hangs on."""
        return tuple(item for item in self.changes if item.is_material)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a package moved."""

    why: Why
    root: str = ""
    """The package that the chain of reasons ends at; empty: it is this one itself."""
    detail: str = ""
    """The nearest reason, a clause: `transformers 4.46.1 needs tokenizers >=0.20`."""


ASKED: Final = Cause(why="asked")
FRESH: Final = Cause(why="fresh")
UNKNOWN: Final = Cause(why="unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One package's move, the same on one or several platforms."""

    name: str
    kind: MoveKind
    before: str
    """`1.26.4`, with the build where only that differs; empty: it was not there."""
    after: str
    platforms: tuple[str, ...]
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Moves with one reason."""

    why: Why
    root: str
    """The package that they moved because of; else empty."""
    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRow:
    """One fact about the GPU build, before and after."""

    fact: str
    """`torch`, `CUDA`, `cuDNN`, `NCCL`, `driver`, `GPUs`, `source`, `python`."""
    before: str
    """Empty: not known, or there was none."""
    after: str
    platforms: tuple[str, ...]
    gained: tuple[str, ...] = ()
    """GPU architectures that the new build has and the old one had not."""
    lost: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether it is not the same on both sides."""
        return self.before != self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Bytes of all packages of one platform on one side."""

    total: int
    estimated: int = 0
    """So many packages were estimated."""
    unknown: int = 0
    """Of so many nobody knows, and they are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRow:
    """What one platform's packages weigh, before and after."""

    platform: str
    download: tuple[Amount, Amount]
    disk: tuple[Amount, Amount]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two locks, compared for people."""

    old: str
    """How the old side was named."""
    new: str
    difference: LockDifference
    gpu: tuple[GpuRow, ...] = ()
    """All rows, also those that are the same."""
    asked: tuple[Move, ...] = ()
    """Direct dependencies that moved."""
    groups: tuple[Group, ...] = ()
    """The others: by root, then those that nothing forced, or whose reason nobody can tell."""
    platforms: tuple[str, ...] = ()
    """Those that were compared: on both sides."""
    gained_platforms: Mapping[str, int] | None = None
    """Platform to number of packages; None: only what both have was compared."""
    lost_platforms: Mapping[str, int] | None = None
    sizes: tuple[SizeRow, ...] = ()
    models: tuple[ModelChange, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader should know: what could not be compared, or was not looked at."""

    @property
    def moves(self) -> tuple[Move, ...]:
        """All of them, direct dependencies first."""
        return (*self.asked, *(move for group in self.groups for move in group.moves))

    @property
    def is_same(self) -> bool:
        """Whether both install the same."""
        return not (self.moves or self.gained_platforms or self.lost_platforms or self.models)
