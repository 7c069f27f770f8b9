"""A pack: environments with all that they are made of, in one file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MemberKind = Literal["bootstrap", "tool", "environment", "package", "wheel", "model"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PackMember:
    """One file of a pack, as its index lists it."""

    name: str
    """In the archive; nothing is ever written under it."""
    kind: MemberKind
    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PackedEnvironment:
    """One environment of a pack."""

    name: str
    files: tuple[str, ...]
    """Of its folder: `conda-lock.yml` and what else there was, in the order they are written."""
    models: bool = False
    """Whether the files of its models are in the pack, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackIndex:
    """What a pack says that it holds."""

    platform: str
    environments: tuple[PackedEnvironment, ...]
    members: tuple[PackMember, ...]
    """In the order they lie in the archive; index and receipt are none."""

    @property
    def by_hash(self) -> dict[str, PackMember]:
        """Packages, wheels and files of models by their sha256."""
        kinds = {"package", "wheel", "model"}
        return {item.sha256: item for item in self.members if item.kind in kinds}

    @property
    def by_name(self) -> dict[str, PackMember]:
        """Every member by its name."""
        return {item.name: item for item in self.members}

    def size_of(self, kind: MemberKind) -> int:
        """Bytes of all members of a kind."""
        return sum(item.size for item in self.members if item.kind == kind)

    def count(self, kind: MemberKind) -> int:
        """Number of members of a kind."""
        return sum(item.kind == kind for item in self.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What `pack` did, or would."""

    path: str
    """Empty: it went to standard output."""
    index: PackIndex
    """In a dry run sizes are 0 where nobody knows them yet."""
    sha256: str = ""
    """Of the whole file."""
    size: int = 0
    """Bytes of the whole file."""
    resumed: int = 0
    """Members that an interrupted run had written."""
    seconds: float = 0.0
    dry_run: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What `unpack` did, or (in a dry run) found."""

    path: str
    index: PackIndex
    read: int
    """Bytes whose hashes were computed and compared."""
    packages: int = 0
    """That came into the package cache; the others were there."""
    wheels: int = 0
    models: int = 0
    folders: tuple[str, ...] = ()
    """Of the environments, in the order of the index."""
    views: tuple[str, ...] = ()
    seconds: float = 0.0
    dry_run: bool = False
