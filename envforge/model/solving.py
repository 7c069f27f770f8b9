"""The questions put to a solver, and its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from envforge.model.lock import LockedPackage
from envforge.model.machine import Platform
from envforge.model.spec import Constraint, Dependency, VirtualPackage

_TOKEN: Final = re.compile(r"/t/[^/]+(?=/|$)")


def without_credentials(address: str) -> str:
    """An address that may be written down: no user, password, `/t/TOKEN` or query.

    The token form is conda's own: conda documentation, "Channels and custom channels".
    """
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"}:
        return address.rstrip("/")
    place = parts.netloc.rpartition("@")[2]
    path = _TOKEN.sub("", parts.path).rstrip("/")
    return urlunsplit((parts.scheme, place, path, "", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A conda channel: what it is called, where it is, and where it is read."""

    name: str
    """As written in environment.yml: `conda-forge`, or an address."""
    url: str
    """Canonical address without a trailing slash; this is what locks hold."""
    mirror: str | None = None
    """A folder or address to read instead, with credentials if need be; never written down."""
    more: tuple[str, ...] = ()
    """Further addresses to read where `mirror` does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaProblem:
    """One platform's solve. Strict channel priority, in the order given."""

    platform: Platform
    channels: tuple[Channel, ...]
    dependencies: tuple[Dependency, ...]
    constraints: tuple[Constraint, ...] = ()
    virtual_packages: tuple[VirtualPackage, ...] = ()
    preferred: tuple[LockedPackage, ...] = ()
    """Taken where they still fit: the old lock, when one package is to move."""
    held: tuple[LockedPackage, ...] = ()
    """As they are or not at all: no other version and no other build of these names."""
    exclude_newer: str | None = None
    """Nothing published after this moment, `2024-03-01T23:59:59Z`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaSolution:
    """What a solve gave, sorted by name."""

    platform: Platform
    packages: tuple[LockedPackage, ...]
    undated: tuple[str, ...] = ()
    """Where `exclude_newer` was asked for: packages whose channel does not say how old they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaConflict:
    """Why there is no solution, in the solver's own words."""

    platform: Platform
    explanation: str
    unknown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Package names that no channel has on this platform, with the nearest that one has."""
    available: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Versions, newest first, of packages that exist but not as asked for."""
    empty_channels: tuple[str, ...] = ()
    """Channels that list no package at all for this platform: is it the right address?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelProblem:
    """One platform's resolution of wheels."""

    platform: Platform
    python: str
    """Full version of the interpreter the wheels are for, `3.11.7`."""
    requirements: tuple[str, ...]
    """PEP 508, from the default index."""
    torch_requirements: tuple[str, ...] = ()
    """torch and its family, which alone may come from `torch_index`."""
    torch_index: str | None = None
    """Address of the index for one CUDA; None: the default index serves torch too."""
    constraints: tuple[str, ...] = ()
    """PEP 508: known-bad ranges."""
    glibc: str | None = None
    """Oldest C library of the target, Linux only, `2.28`."""
    accelerator: str | None = None
    """`cu126` or `cpu`: what torch must turn out to be; None: not asserted."""
    preferred: tuple[LockedPackage, ...] = ()
    """Taken where they still fit, unlike `constraints`: the wheels of an old lock."""
    provided: tuple[str, ...] = ()
    """Distributions that conda packages bring, by their names on the registry: no wheel of them
    is taken, so that `accelerate` below `pip:` puts no second torch on top of conda's."""
    exclude_newer: str | None = None
    """Nothing uploaded after this moment, `2024-03-01T23:59:59Z`."""
