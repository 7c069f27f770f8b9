"""What `adopt` made of somebody else's environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from envforge.model.choice import Choice
from envforge.model.imported import Kind
from envforge.model.lock import Lock
from envforge.model.machine import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class PinChange:
    """A direct dependency that did not stay as it was pinned."""

    name: str
    manager: Literal["conda", "pip"]
    was: str
    """The version of the source; empty: it named none."""
    became: str
    """The version now, `1.26` or `any` where it is not locked yet; empty: left out."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptResult:
    """A folder that was made from a source, or (in a dry run) would be."""

    name: str
    folder: Path
    origin: str
    kind: Kind
    environment: str
    """Which one of the source's; empty: it has but one, without a name."""
    platforms: tuple[Platform, ...]
    choice: Choice
    """What torch, CUDA, Python and source were found to be."""
    found_cudnn: str | None = None
    """As the source has it."""
    kept: tuple[str, ...] = ()
    """Direct dependencies whose exact version stayed, by name."""
    changed: tuple[PinChange, ...] = ()
    not_carried: tuple[str, ...] = ()
    """What the source has and the folder has not, one clause each."""
    lock: Lock | None = None
    """None: it could not be solved, or that was not asked for; see `unchecked` and `unsolved`."""
    unchecked: str = ""
    """Why the pins were not held against channels and indexes; empty: they were."""
    unsolved: str = ""
    """Why what can be had does not fit together; empty: it does, or that was not asked."""
    same: int = 0
    """Packages of the source's lock that are locked in the same version."""
    before: int = 0
    """Packages in the source's lock, on the platforms that were taken over."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File name to text."""
    outcome: Literal["written", "planned"] = "written"
