"""What an install is asked for, what it works through, and what is known before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from envforge.model.lock import Lock, LockedPackage
from envforge.model.prefix import (
    InstallPlan,
    InstallRecord,
    PrefixContents,
    PrefixState,
    SpaceForecast,
)
from envforge.ports import (
    BytecodeCompiler,
    CondaInstaller,
    EnvironmentRegistry,
    Prefixes,
    Reporter,
    SpaceProbe,
    WheelInstaller,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallRequest:
    """What is to be installed, and where."""

    lock: Lock
    platform: str
    prefix: Path
    """Absolute."""
    environment: str = ""
    """Folder of the lock; kept in the prefix, so that the prefix can be found by it."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Set when the environment is activated."""
    requested: tuple[str, ...] = ()
    """The conda specs of environment.yml; later `conda install`s keep to them."""
    wait_for_bytecode: bool = False
    ignore_space: bool = False
    """Go on where the forecast says that the disk is too small."""

    @property
    def packages(self) -> tuple[LockedPackage, ...]:
        """The lock's packages of the platform."""
        return self.lock.for_platform(self.platform)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallTools:
    """The ports that an install works through."""

    conda: CondaInstaller
    wheels: WheelInstaller
    prefixes: Prefixes
    registry: EnvironmentRegistry
    space: SpaceProbe
    bytecode: BytecodeCompiler
    reporter: Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A transaction, known in full before it begins."""

    contents: PrefixContents
    plan: InstallPlan
    forecast: SpaceForecast
    target: InstallRecord
    """What the prefix says of itself once all is done."""

    @property
    def is_done(self) -> bool:
        """Whether the prefix is as locked, and an install of ours (or a foreign one) ended."""
        if self.contents.state is PrefixState.FOREIGN:
            return self.plan.is_empty
        return (
            self.contents.state is PrefixState.INSTALLED
            and self.plan.is_empty
            and self.contents.record == self.target
        )
