"""What each task of the front door gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from envforge.model.choice import Choice
from envforge.model.difference import Comparison
from envforge.model.fetching import Prefilled
from envforge.model.finding import Report
from envforge.model.lock import Lock
from envforge.model.models import ModelChange, ModelRequest, ModelsLock
from envforge.model.prefix import InstallPlan, InstallResult, PrefixState, SpaceForecast


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsResult:
    """The models of a folder that were locked, or (in a dry run) would be."""

    name: str
    folder: Path
    lock: ModelsLock
    before: ModelsLock | None = None
    """What was locked before; None: nothing."""
    changes: tuple[ModelChange, ...] = ()
    """Between the two; all that is locked where nothing was."""
    outcome: Literal["written", "unchanged", "planned"] = "written"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsState:
    """Whether models.yml and models-lock.yml of a folder agree."""

    name: str
    folder: Path
    requests: tuple[ModelRequest, ...]
    lock: ModelsLock | None
    disagreements: tuple[str, ...]
    """A sentence each; empty: they agree."""


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
    models: ModelsResult | None = None
    """What `--model` came to; None: none was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """What an update moved, or (in a dry run) would."""

    name: str
    """Of the environment that was updated, or made beside it."""
    folder: Path
    old_name: str
    """Another one than `name` where torch or CUDA changed."""
    lock: LockResult
    asked: tuple[str, ...]
    """Packages that were to move; empty: all."""
    others: tuple[str, ...]
    """Names of the other packages that changed, came or went."""
    comparison: Comparison
    """The old lock and the new one."""


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
    prefill: Prefilled | None = None
    """None: it locks no models, or there is no store of ours to fetch them into."""
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
