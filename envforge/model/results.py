"""What each task of the front door gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from envforge.model.choice import Choice
from envforge.model.finding import Report
from envforge.model.lock import Lock
from envforge.model.prefix import InstallPlan, InstallResult, PrefixState, SpaceForecast


@dataclass(frozen=True, slots=True, kw_only=True)
class LockResult:
    """A folder that was locked, or (in a dry run) would be."""

    name: str
    folder: Path
    lock: Lock
    choice: Choice | None = None
    """None where an existing environment.yml was locked again."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File name to text; empty where nothing was solved."""
    outcome: Literal["written", "unchanged", "planned"] = "written"
    """`unchanged`: it was current already. `planned`: a dry run."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedInstall:
    """What an install would do; from `--dry-run`."""

    prefix: Path
    state: PrefixState
    plan: InstallPlan
    forecast: SpaceForecast


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateResult:
    """What `create` did: each part as its own command gives it."""

    name: str
    lock: LockResult
    install: InstallResult | None = None
    planned: PlannedInstall | None = None
    """In a dry run, instead of `install`."""
    report: Report | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentInfo:
    """One environment, as `list` and `show` tell it."""

    name: str
    folder: Path
    lock: Lock | None
    stale: tuple[str, ...] = ()
    """Why the lock is not current; empty: it is."""
    prefix: Path | None = None
    state: PrefixState = PrefixState.ABSENT
    up_to_date: bool = False
    """Whether the prefix was installed from this very lock."""
    problem: str | None = None
    """Why the folder cannot be read, instead of everything else."""
