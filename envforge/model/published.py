"""Environments that are published: built under a version of their own, switched to at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from envforge.model.finding import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedVersion:
    """One version of a published environment."""

    number: int
    """From 1 on; never used twice."""
    prefix: Path
    digest: str
    """`install.plan.lock_digest` of what is in it."""
    published: float
    """When it was first switched to, in seconds since the epoch."""
    retired: float | None = None
    """When another one took its place; None: it is current, or has never been left."""
    is_current: bool = False
    users: tuple[str, ...] = ()
    """Processes that were seen to use it, `python (4711)`; empty where nobody looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVersion:
    """A version that could go by its number, and why it stays."""

    version: PublishedVersion
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishResult:
    """What publishing, or going back, did."""

    name: str
    link: Path
    """What people use: it always leads to a whole environment."""
    version: PublishedVersion
    """What it leads to now; with `dry_run` what it would."""
    before: PublishedVersion | None = None
    """What it led to before; None: there was none."""
    report: Report | None = None
    """None: nothing was verified, since nothing was new."""
    removed: tuple[PublishedVersion, ...] = ()
    kept: tuple[KeptVersion, ...] = ()
    dry_run: bool = False

    @property
    def is_new(self) -> bool:
        """Whether the link leads elsewhere than before."""
        return self.before is None or self.before.number != self.version.number
