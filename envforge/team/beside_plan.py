"""What the folder of a new torch, or of a new CUDA, takes over from the one beside it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from envforge.formats.conda import environment_yml
from envforge.formats.conda.environment_yml import EnvironmentDocument
from envforge.model.cuda import CudaVersion
from envforge.model.machine import CUDA_PLATFORMS, Platform
from envforge.model.spec import Dependency, EnvironmentSpec, VirtualPackage
from envforge.team.addresses import OWN_CHANNELS
from envforge.team.update_plan import CLAIM

COMPANIONS: Final = frozenset(
    {"torchvision", "torchaudio", "torchtext", "torchdata", "triton", "torchtriton"}
)
"""Packages that each torch has official versions of, or builds of their own."""
_COMPOSED: Final = frozenset({"python", "pip"})
"""Lines that every environment.yml of ours begins with."""


def carried(
    document: EnvironmentDocument, known_bad: Collection[tuple[str, str]]
) -> tuple[Dependency, ...]:
    """The lines that a new torch or CUDA leaves as they are, with the ranges that were asked for.

    Left out are those that follow from torch itself: Python, torch, its CUDA, and the ranges
    that keep known-bad packages (`known_bad`: name and range) away from *this* torch, which have
    their reason behind them. Partners of torch lose their versions, since each torch has its own.
    """
    found = []
    for item in document.with_asked_ranges().spec.dependencies:
        follows = (item.name, item.version) in known_bad and item.comment
        if item.name in CLAIM | _COMPOSED or follows:
            continue
        bare = replace(item, version="", build="", channel=None, url=None, comment=None)
        found.append(bare if item.name in COMPANIONS else item)
    return tuple(found)


def asked_python(spec: EnvironmentSpec) -> str | None:
    """`3.10`: what environment.yml asked for, without the patch release it was locked to."""
    line = spec.find("python")
    asked = environment_yml.asked_range(line) if line else ""
    found = re.fullmatch(r"={0,2}(\d+\.\d+)(?:\.[\d*]+)?", asked)
    return found[1] if found else None


def further_channels(spec: EnvironmentSpec) -> tuple[str, ...]:
    """The channels that a person asked for."""
    return tuple(item for item in spec.channels if item not in OWN_CHANNELS)


def machine_of(
    old: Mapping[Platform, tuple[VirtualPackage, ...]],
    fresh: Mapping[Platform, tuple[VirtualPackage, ...]],
    cuda: CudaVersion | None,
) -> dict[Platform, tuple[VirtualPackage, ...]]:
    """The machine that was described, raised to what the new build needs.

    Args:
        old: virtual-packages.yml as it is; a person may have edited it.
        fresh: what the new build would be described with.
        cuda: of the new build; None: it needs no driver.
    """
    return {
        platform: _raised(old[platform], packages, cuda if platform in CUDA_PLATFORMS else None)
        if platform in old
        else packages
        for platform, packages in fresh.items()
    }


def _raised(
    old: tuple[VirtualPackage, ...], fresh: tuple[VirtualPackage, ...], cuda: CudaVersion | None
) -> tuple[VirtualPackage, ...]:
    found = {item.name: item for item in old}
    if cuda is None:
        found.pop("__cuda", None)
    for item in fresh:
        before = found.get(item.name)
        if item.name in ("__cuda", "__glibc") and (
            before is None or _numbers(before.version) < _numbers(item.version)
        ):
            found[item.name] = item
    return tuple(sorted(found.values()))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
