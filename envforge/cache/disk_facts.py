"""What `cache doctor` saw of the store's disk and its surroundings: data only.

None always means: it could not be looked at. What judges it is in `disk_checks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envforge.model.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """What happened when it was tried, with files that are gone again.

    Of a call: empty text for success, else the name of its error, `EXDEV`.
    """

    hardlink: str | None = None
    to_views: str | None = None
    """A hardlink from the store into the folder of views."""
    reflink: str | None = None
    """FICLONE from the store into the folder of views, or within the store where there is none."""
    flock: str | None = None
    """Empty: a second holder is kept out; `nothing`: it is let in; else the error's name."""
    owner_kept: bool | None = None
    """Whether a new file belongs to whoever made it."""
    mode_kept: bool | None = None
    """Whether a file stays read-only when it was made so."""
    read_noted: bool | None = None
    """Whether reading a file moved its access time."""
    clock_ahead: float | None = None
    """Seconds that the filesystem's clock is ahead of ours."""
    read_rate: float | None = None
    """Bytes per second of a file that was not in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """One folder inside the store."""

    path: str
    owner: int
    group: int
    mode: int
    acl_writers: tuple[str, ...] = ()
    """Who else may write what is made in it, by a default ACL: `user 4001`, `group 100`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubCache:
    """The cache tree that Hugging Face clients use where nobody says another."""

    place: Place
    named_by: str
    """The variable that names it, or `HOME`."""
    foreign: tuple[str, ...] = ()
    """Locks and folders in it that belong to others and that we may not write; the first few."""
    foreign_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Everything at once."""

    store: Place
    views: Place
    hub: HubCache
    is_store: bool
    """Whether there is a store, and not only a place for one."""
    distrust: str = ""
    """Why others could put files into it; empty: they cannot."""
    distrust_remedy: str = ""
    trials: Trials = field(default_factory=Trials)
    folders: tuple[Folder, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those that Hugging Face's libraries read; tokens are not among them."""
    uid: int = 0
    umask: int | None = None
    protected_hardlinks: bool | None = None
    is_served: bool = False
    """Whether a service that makes views for others answers."""
    in_container: bool = False
    quarantined: int = 0
    """Files whose bytes were wrong."""

    @property
    def is_ours(self) -> bool:
        """Whether we may write the store."""
        return self.uid in {0, self.store.owner}

    @property
    def for_group(self) -> bool:
        """Whether the store is made for one group: closed to others, open to that."""
        return self.is_store and bool(self.store.mode & 0o050) and not self.store.mode & 0o005
