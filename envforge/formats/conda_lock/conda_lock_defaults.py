"""The virtual packages that conda-lock assumes where nobody gives it a file.

They are part of its content hash. Facts of conda-lock 4.0.3 (`default-virtual-packages.yaml`);
other versions assume others, which a lock does not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from envforge.model.machine import Platform
from envforge.model.spec import VirtualPackage


def _packages(**versions: str) -> tuple[VirtualPackage, ...]:
    split = ((name, *text.partition(" ")) for name, text in versions.items())
    return tuple(
        VirtualPackage(name=name, version=version, build=build or "0")
        for name, version, _, build in split
    )


_LINUX: Final = {"__unix": "0", "__linux": "5.10", "__glibc": "2.28", "__cuda": "11.4"}
DEFAULTS: Final[Mapping[Platform, tuple[VirtualPackage, ...]]] = {
    "linux-64": _packages(**_LINUX, __archspec="1 x86_64"),
    "linux-aarch64": _packages(**_LINUX, __archspec="1 aarch64"),
    "osx-arm64": _packages(__unix="0", __archspec="1 arm64", __osx="11.0"),
    "win-64": _packages(__win="0", __archspec="1 x86_64", __cuda="11.4"),
}
