"""Platforms as conditions that pip and uv evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_MARKERS: Final[Mapping[str, tuple[str, str]]] = {
    # sys_platform, platform_machine
    "linux-64": ("linux", "x86_64"),
    "linux-aarch64": ("linux", "aarch64"),
    "linux-ppc64le": ("linux", "ppc64le"),
    "osx-64": ("darwin", "x86_64"),
    "osx-arm64": ("darwin", "arm64"),
    "win-64": ("win32", "AMD64"),
    "win-arm64": ("win32", "ARM64"),
}
"""Values as PEP 508 has them from `sys.platform` and `platform.machine()`."""


def platform_marker(platform: str) -> str | None:
    """An environment marker that holds on one of conda's platforms only; None: unknown to pip."""
    found = _MARKERS.get(platform)
    if found is None:
        return None
    return f"sys_platform == '{found[0]}' and platform_machine == '{found[1]}'"
