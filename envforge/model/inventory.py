"""Everything that is in an environment, as bills of materials list it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PartKind = Literal["conda", "pypi", "model", "dataset", "space", "file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A package, a wheel, a model, or a file of one."""

    kind: PartKind
    key: str
    """Unique in the inventory; what `needs` names."""
    name: str
    version: str = ""
    """Of a model its commit."""
    qualifiers: Mapping[str, str] = field(default_factory=dict)
    """Of its package URL: `build`, `channel`, `subdir`, `type`, `download_url`."""
    url: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """`md5` and `sha256`, as far as they are known."""
    size: int | None = None
    """Bytes."""
    platforms: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """Keys of parts that it depends on, sorted."""
    parts: tuple[Part, ...] = ()
    """Its files, in the order of their paths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """One environment."""

    name: str
    digest: str
    """SHA-256 over all that follows: equal inventories have equal ones."""
    parts: tuple[Part, ...]
    """Sorted by key."""
    direct: tuple[str, ...]
    """Keys of what was asked for."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """What it is for: torch, CUDA, cuDNN, driver floor."""
