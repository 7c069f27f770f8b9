"""What was seen of a store and of the cache trees beside it. Facts only: nothing is judged here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from envforge.model.models import LinkMode, ModelsLock

FileRole = Literal["blob", "snapshot", "flat", "partial", "other"]
"""What a file in a cache tree is: a blob, a file straight in a snapshot (no-symlink mode), one of
the flat cache of transformers before 4.22, a download that was not finished, anything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What lstat said of one name of a file."""

    device: int
    inode: int
    size: int
    """Bytes of content."""
    disk: int
    """Bytes that it takes on the disk (`st_blocks`); what removing its last name gives back."""
    links: int
    """Names that the file has, anywhere."""
    owner: int
    read: float | None
    """Seconds since the epoch (atime); None: the mount does not record reads."""
    changed: float
    """The later of mtime and ctime: a link more or less counts as a change."""

    @property
    def key(self) -> tuple[int, int]:
        """Equal for all names of one file."""
        return self.device, self.inode


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One inode of the store."""

    sha256: str
    copy: int = 0
    """0, or the number behind the name where one inode had no links left (`layout.blob`)."""
    facts: FileFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFile:
    """One file of a cache tree."""

    role: FileRole
    repo: str
    """As `Repo.shown`; empty: it lies in no repository's folder."""
    name: str
    """Of a blob its name, of a snapshot's file its path in the repository."""
    commit: str = ""
    """Of a file straight in a snapshot."""
    facts: FileFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSnapshot:
    """One revision of one repository in a cache tree."""

    repo: str
    commit: str
    refs: tuple[str, ...] = ()
    """Branches and tags that name it, sorted; empty: detached, unless somebody pinned it."""
    is_pinned: bool = False
    """The store's registry names this commit for this view."""
    blobs: frozenset[str] = frozenset()
    """Names of the blobs that its links point to."""

    @property
    def is_detached(self) -> bool:
        """Whether nothing names it: what `hf cache prune` removes."""
        return not self.refs and not self.is_pinned


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One cache tree: a view, or a cache that somebody named."""

    path: str
    user: str
    """Name of whoever uses it, or the number where it has none."""
    environment: str = ""
    files: tuple[TreeFile, ...] = ()
    snapshots: tuple[TreeSnapshot, ...] = ()
    modes: Mapping[str, LinkMode] = field(default_factory=dict)
    """sha256 to how the view got it, as registered."""
    models: tuple[tuple[str, str], ...] = ()
    """Repository and commit of what the view was made for, as registered."""
    problem: str = ""
    """Why it, or a part of it, could not be looked at."""

    @property
    def label(self) -> str:
        """How tables call it."""
        return self.environment or self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedModels:
    """A models-lock.yml that was found."""

    environment: str
    user: str
    lock: ModelsLock


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Everything that `scan` looked at."""

    store: str
    stored: tuple[StoredFile, ...] = ()
    trees: tuple[Tree, ...] = ()
    locks: tuple[LockedModels, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    """git-sha1 to sha256, from the store's index, for blobs that are no inode of the store."""
    aside: Mapping[str, tuple[FileFacts, ...]] = field(default_factory=dict)
    """Files of the store that are no content: `parts`, `quarantine`, `trash`."""
    reads_recorded: bool = True
    """Whether the store's mount updates atime at all."""
    read_only: bool = False
    gone: tuple[str, ...] = ()
    """Views whose environment is gone, by path."""
    problems: tuple[str, ...] = ()
