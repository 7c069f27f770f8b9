"""A folder and the disk that it lies on, as several tasks look at it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder, or where it will be, and what it lies on."""

    path: str
    nearest: str
    """The folder itself, else the nearest above that is there."""
    exists: bool
    owner: int
    group: int
    mode: int
    """Permission bits."""
    kind: str | None = None
    """Kind of filesystem: `ext4`, `nfs4`, `overlay` …"""
    mount: str | None = None
    """Where that is mounted."""
    options: frozenset[str] = frozenset()
    device: int = 0
    free_bytes: int = 0
    all_bytes: int = 0
    free_inodes: int | None = None
    all_inodes: int | None = None
    writable: bool = False
    """Whether we may make files there."""
