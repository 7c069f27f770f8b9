"""What activating an environment sets, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

Allocator = Literal["default", "expandable", "shared-server"]
ALLOCATORS: Final[tuple[Allocator, ...]] = ("default", "expandable", "shared-server")
THREADS: Final = ("auto", "off")
"""Besides a number: by the control group's limit, or left to each library."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What was chosen for an environment; kept in its prefix."""

    allocator: Allocator = "default"
    deterministic: bool = False
    threads: str = "auto"
    """`auto`, `off` or a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationRecord:
    """What envforge wrote into a prefix's `conda-meta/state` besides the lock's variables."""

    choices: Choices = field(default_factory=Choices)
    written: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name to the values that are ours; two while one replaces the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One variable, as a program in the environment finds it."""

    name: str
    value: str
    why: str
    """What it is for; empty: not a variable that envforge knows."""
    source: str
    """Who set it: `environment.yml`, a package, the user's shell …"""
    documented: str = ""
    """Where its meaning is documented."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentVariables:
    """All that activation sets."""

    environment: str
    prefix: Path
    choices: Choices
    variables: tuple[Explained, ...]
    scripts: tuple[str, ...] = ()
    """Of packages; what else they set is among the variables where it could be seen."""
    kept: tuple[str, ...] = ()
    """Names that a choice would set and that somebody else already did, in the prefix."""
    changed: tuple[str, ...] = ()
    """What was written, or with `dry_run` would be, relative to the prefix; empty: nothing."""
