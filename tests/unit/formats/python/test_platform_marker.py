"""Platforms as markers."""

from __future__ import annotations

from itertools import product

import pytest
from packaging.markers import Marker

from envforge.formats.python.platform_marker import platform_marker

WORLD = {
    "linux-64": ("linux", "x86_64"),
    "linux-aarch64": ("linux", "aarch64"),
    "osx-arm64": ("darwin", "arm64"),
    "osx-64": ("darwin", "x86_64"),
    "win-64": ("win32", "AMD64"),
}


@pytest.mark.parametrize(("platform", "machine"), list(product(WORLD, WORLD)))
def test_a_marker_holds_on_its_platform_only(platform: str, machine: str) -> None:
    marker = platform_marker(platform)
    assert marker is not None
    system, processor = WORLD[machine]

    holds = Marker(marker).evaluate({"sys_platform": system, "platform_machine": processor})

    assert holds == (platform == machine)


def test_what_pip_does_not_run_on_has_none() -> None:
    assert platform_marker("noarch") is None
