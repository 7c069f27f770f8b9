"""What a spec became: every package, pinned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.machine import Platform
from envforge.model.spec import Source

UNSOLVED: Final = "envforge.unsolved"
"""Key in `custom_metadata` of a lock that was put together and never solved: why, in a clause."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class LockedPackage:
    """One package, pinned so that every machine fetches the same bytes."""

    # Field order is sort order: locks are written by platform, then by name.
    platform: str
    name: str
    manager: Literal["conda", "pip"] = "conda"
    version: str
    build: str = ""
    """Conda build string; empty for wheels."""
    url: str
    """Canonical address, whatever mirror served it."""
    sha256: str
    md5: str = ""
    """Conda only; conda-lock refuses entries without it."""
    depends: tuple[str, ...] = ()
    """`name version build` (conda), `name specifier` (pip); virtual packages included."""
    constrains: tuple[str, ...] = ()
    """Not kept in conda-lock.yml, so empty after reading one."""
    size: int | None = None
    """Bytes of the archive; None: the channel does not say."""

    @property
    def filename(self) -> str:
        """The archive's name, `pytorch-2.0.1-py3.10_cuda11.8_cudnn8.7.0_0.tar.bz2`."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])

    @property
    def subdir(self) -> str:
        """The channel's folder the archive lies in: a platform, or `noarch`."""
        return urlsplit(self.url).path.rsplit("/", 2)[-2]

    @property
    def channel_url(self) -> str:
        """The channel's address, without the platform folder."""
        return self.url.rsplit("/", 2)[0]


place_of: Final[Callable[[LockedPackage], tuple[str, str, str]]] = attrgetter(
    "platform", "name", "manager"
)
"""Where a package stands in a lock, which holds each place once and is sorted by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the lock is for: the claim that `verify` checks. Kept in `custom_metadata`."""

    torch: str
    cuda: CudaVersion | None
    cudnn: str | None
    """As the build names it (`8.7.0`), None where it has none or does not say."""
    python: str
    source: Source
    min_driver: str | None = None
    """Oldest Linux driver that runs this CUDA, by minor-version compatibility."""
    architectures: tuple[str, ...] = ()
    """Compute capabilities in the build, `9.0` or `12.0+PTX`; empty: unknown."""
    wheel_index: str | None = None
    """`pytorch`, `site` or an address, where torch is a wheel."""
    machine_local: bool = False
    """Holds `file:` packages of one machine (`--python host`, find-links)."""

    def capabilities(self) -> tuple[ComputeCapability, ...]:
        """The architectures without their PTX marks."""
        return tuple(
            ComputeCapability.parse(item.removesuffix("+PTX")) for item in self.architectures
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """conda-lock.yml as data."""

    packages: tuple[LockedPackage, ...]
    """Sorted."""
    platforms: tuple[Platform, ...]
    channels: tuple[str, ...]
    content_hash: Mapping[str, str]
    """Per platform, the same that conda-lock computes."""
    sources: tuple[str, ...] = ("environment.yml",)
    target: Target | None = None
    """None in a lock that another tool wrote."""
    inputs_digest: str | None = None
    """SHA-256 over environment.yml's meaning and virtual-packages.yml; ours, else None."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What else stands in `custom_metadata`, kept as it is."""

    def for_platform(self, platform: str) -> tuple[LockedPackage, ...]:
        """The packages of one platform, in order."""
        return tuple(item for item in self.packages if item.platform == platform)

    def find(self, name: str, platform: str) -> LockedPackage | None:
        """A package by its name, conda's before a wheel of that name."""
        return next(
            (item for item in self.packages if item.platform == platform and item.name == name),
            None,
        )
