"""What a solver may assume of the machine an environment is for, never of the one we run on.

The values are conda-lock's defaults for each platform (conda-lock,
`default-virtual-packages.yaml`), so that both tools describe a plain machine in the same
words; only `__cuda` follows from the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from envforge.model.choice import Choice
from envforge.model.machine import CUDA_PLATFORMS, Platform
from envforge.model.spec import VirtualPackage

GLIBC_FLOOR: Final = (2, 28)
"""RHEL 8, Debian 10, Ubuntu 20.04 and newer. Torch's wheels ask for it since 2.7 and
conda-forge's CUDA 13 builds do; a lower floor would shut those out, and conda-lock assumes
the same. A cluster that is older says so with `CONDA_OVERRIDE_GLIBC`."""
_LINUX: Final = "5.10"
"""Kernel. No package of the torch stack asks for a newer one."""
_OSX: Final = "11.0"
"""The oldest macOS on Apple silicon, and conda-forge's own floor there."""
_ARCHITECTURE: Final[Mapping[Platform, str]] = {
    "linux-64": "x86_64",
    "linux-aarch64": "aarch64",
    "osx-arm64": "arm64",
    "win-64": "x86_64",
}
"""The baseline, not `x86_64_v3`: a lock that picked AVX2 builds would crash on older nodes."""


def virtual_packages(
    platform: Platform, choice: Choice, overrides: Mapping[str, str] | None = None
) -> tuple[VirtualPackage, ...]:
    """Describe the target.

    Args:
        platform: one of the lock's.
        choice: its CUDA becomes `__cuda` (the *driver's* CUDA: at least what the build
            needs); its `min_glibc` raises the floor.
        overrides: a process environment; `CONDA_OVERRIDE_CUDA` and its like replace a
            value, and an empty one removes it (CEP 30). A CPU target stays without `__cuda`.
    """
    described = dict(_described(platform, choice))
    for name in tuple(described):
        value = (overrides or {}).get(f"CONDA_OVERRIDE_{name.removeprefix('__').upper()}")
        if value == "":
            del described[name]
        elif value is not None:
            described[name] = ("1", value) if name == "__archspec" else (value, "0")
    return tuple(
        VirtualPackage(name=name, version=version, build=build)
        for name, (version, build) in sorted(described.items())
    )


def all_virtual_packages(
    platforms: Iterable[Platform], choice: Choice, overrides: Mapping[str, str] | None = None
) -> dict[Platform, tuple[VirtualPackage, ...]]:
    """`virtual_packages` of every platform."""
    return {item: virtual_packages(item, choice, overrides) for item in platforms}


def _described(platform: Platform, choice: Choice) -> Iterable[tuple[str, tuple[str, str]]]:
    yield "__archspec", ("1", _ARCHITECTURE[platform])
    if choice.cuda is not None and platform in CUDA_PLATFORMS:
        yield "__cuda", (str(choice.cuda), "0")
    if platform == "win-64":
        yield "__win", ("0", "0")
        return
    yield "__unix", ("0", "0")
    if platform == "osx-arm64":
        yield "__osx", (_OSX, "0")
        return
    yield "__linux", (_LINUX, "0")
    yield "__glibc", (_glibc(choice.min_glibc), "0")


def _glibc(needed: str | None) -> str:
    floor = ".".join(map(str, GLIBC_FLOOR))
    if needed is None:
        return floor
    parts = tuple(int(part) for part in needed.split(".") if part.isdigit())
    return needed if parts > GLIBC_FLOOR else floor
