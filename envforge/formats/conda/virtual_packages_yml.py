"""virtual-packages.yml: the machine an environment is meant for, in conda-lock's own format.

    subdirs:
      linux-64:
        packages:
          __archspec: '1 x86_64'
          __cuda: '11.8'

A value is a version, or version and build with a space between.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from envforge.formats.text import yaml_text
from envforge.formats.text.yaml_text import Mistakes, Node
from envforge.model.machine import PLATFORMS, Platform
from envforge.model.spec import VirtualPackage

_KNOWN: Final = (
    "__archspec",
    "__cuda",
    "__cuda_arch",
    "__glibc",
    "__linux",
    "__osx",
    "__unix",
    "__win",
)
"""CEP 30 and CEP 46; for spelling hints, others may stand there."""

_VALUE: Final = re.compile(r"(?P<version>[A-Za-z0-9._!+]+)(?: (?P<build>[A-Za-z0-9._]+))?")


def read(text: str, path: str) -> dict[Platform, tuple[VirtualPackage, ...]]:
    """Read virtual-packages.yml; packages are sorted by name.

    Raises:
        InvalidFile: with every mistake, its line and column.
    """
    root = yaml_text.parse(text, path)
    mistakes = Mistakes(path)
    fields = yaml_text.mapping(root, "the file", mistakes, ("subdirs",))
    if "subdirs" not in fields and root.kind == "map":
        mistakes.add(root, "`subdirs` is missing")
    subdirs = yaml_text.mapping(fields["subdirs"], "`subdirs`", mistakes) if fields else {}
    machines: dict[Platform, tuple[VirtualPackage, ...]] = {}
    for name, node in subdirs.items():
        platform = next((known for known in PLATFORMS if known == name), None)
        if platform is None:
            near = yaml_text.did_you_mean(name, PLATFORMS) or f"; known: {', '.join(PLATFORMS)}"
            mistakes.add(node, f"`{name}` is no platform that can be locked{near}")
            continue
        machines[platform] = _read_subdir(node, name, mistakes)
    mistakes.raise_any()
    return machines


def _read_subdir(node: Node, name: str, mistakes: Mistakes) -> tuple[VirtualPackage, ...]:
    fields = yaml_text.mapping(node, f"`{name}`", mistakes, ("packages",))
    if "packages" not in fields:
        if node.kind == "map":
            mistakes.add(node, f"`{name}` has no `packages`")
        return ()
    packages = yaml_text.mapping(fields["packages"], "`packages`", mistakes)
    read_ones = (_read_package(name, value, mistakes) for name, value in packages.items())
    return tuple(sorted(item for item in read_ones if item is not None))


def _read_package(name: str, node: Node, mistakes: Mistakes) -> VirtualPackage | None:
    if not name.startswith("__"):
        near = yaml_text.did_you_mean(f"__{name}", _KNOWN)
        mistakes.add(node, f"`{name}` is no virtual package: their names start with `__`{near}")
        return None
    value = yaml_text.string(node, f"`{name}`", mistakes)
    if value is None:
        return None
    found = _VALUE.fullmatch(value)
    if not found:
        mistakes.add(node, f"`{name}` is `{value}`, and should be a version, or version and build")
        return None
    if found["build"] == "0":
        mistakes.add(node, f"`{name}`: leave out the build `0`, it goes without saying")
        return None
    return VirtualPackage(name=name, version=found["version"], build=found["build"] or "0")


def write(machines: Mapping[Platform, tuple[VirtualPackage, ...]], header: str = "") -> str:
    """The file for these machines, sorted by platform and name.

    Args:
        machines: virtual packages by platform; a platform without any is written too.
        header: lines of comment for the top, without `#`.
    """
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    lines.append("subdirs:" if machines else "subdirs: {}")
    for platform in sorted(machines):
        packages = sorted(machines[platform])
        lines += [f"  {platform}:", "    packages:" if packages else "    packages: {}"]
        lines += [f"      {item.name}: {yaml_text.quoted(_value(item))}" for item in packages]
    return "\n".join(lines) + "\n"


def _value(item: VirtualPackage) -> str:
    return item.version if item.build == "0" else f"{item.version} {item.build}"
