"""What is judged: a claim, and everything that was found out about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from envforge.model.finding import Level
from envforge.model.lock import LockedPackage, Target
from envforge.verify.facts.host import HostFacts
from envforge.verify.facts.prefix import PrefixFacts
from envforge.verify.facts.probe import ProbeFacts

Layer = Literal["lock", "host", "prefix", "probe"]
"""The four things a check may look at."""
Kind = Literal["environment", "prefix", "interpreter", "lock", "host"]
"""What was named: an environment's folder, a directory, a Python, a lock file, the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is judged: a claim (the lock) and everything that was found out about it."""

    name: str
    """The environment's name, or what else the report is headed with."""
    level: Level
    """How deep we looked."""
    kind: Kind = "environment"
    require_gpu: bool = False
    platform: str = "linux-64"
    platforms: tuple[str, ...] = ()
    """Those that the lock holds; empty: there is no lock, or nobody asked."""
    folder: str | None = None
    """Name of the environment's folder; None: there is none."""
    place: str | None = None
    """What commands to copy call the environment: its name, or its path; None: as `folder`."""
    declared_name: str | None = None
    """`name:` of environment.yml; None: not read."""
    target: Target | None = None
    is_claimed: bool = True
    """Whether the lock itself says what it is for; False: `target` was told by its packages."""
    locked: tuple[LockedPackage, ...] | None = None
    """The packages of `platform`; None: there is no lock."""
    host: HostFacts | None = None
    prefix: PrefixFacts | None = None
    probe: ProbeFacts | None = None
    missing: Mapping[Layer, str] = field(default_factory=dict)
    """For each layer that is None, why: `no interpreter in the prefix`."""

    def find_locked(self, *names: str) -> LockedPackage | None:
        """The first of these names that is locked."""
        by_name = {item.name: item for item in reversed(self.locked or ())}
        return next((by_name[name] for name in names if name in by_name), None)
