"""What is written for other tools, from what, and what their formats cannot hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from envforge.model.lock import Lock
from envforge.model.models import ModelsLock
from envforge.model.outputs import Layer
from envforge.model.spec import EnvironmentSpec, VirtualPackage

ExportTarget = Literal[
    "explicit",
    "environment.yml",
    "pixi",
    "pylock",
    "requirements",
    "sbom",
    "cyclonedx",
    "spdx",
    "mirror-list",
]
EXPORT_TARGETS: Final[tuple[ExportTarget, ...]] = get_args(ExportTarget)
"""`sbom` is `cyclonedx` and `spdx` together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSubject:
    """An environment to write for others, whoever locked it."""

    name: str
    lock: Lock
    """Hashes and addresses may be missing in one that another tool wrote."""
    spec: EnvironmentSpec | None = None
    """What is asked for; None: only the lock is there."""
    virtual: Mapping[str, tuple[VirtualPackage, ...]] = field(default_factory=dict)
    """The machine it is for, by platform."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Set on activation."""
    models: ModelsLock | None = None
    folder: Path | None = None
    """Of the environment; None: it is none of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFile:
    """One file of an export."""

    name: str
    """What tools look for, where they look for a name; folders in it only for copies."""
    text: str
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Something that a format cannot hold, or cannot hold in full."""

    what: str
    """One clause: `wheels are comments, which conda skips`."""
    names: tuple[str, ...] = ()
    """Of the packages, models or platforms concerned; empty: it concerns all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One environment, written for another tool."""

    environment: str
    target: str
    """One of `EXPORT_TARGETS`, of `around.outputs.OUTPUTS`, or the name of an own template."""
    platforms: tuple[str, ...]
    files: tuple[ExportFile, ...]
    losses: tuple[Loss, ...] = ()
    layers: tuple[Layer, ...] = ()
    """What an image will hold, where it is one."""
    next: str = ""
    """What to do with it: a command."""
