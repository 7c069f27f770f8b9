"""The same direct dependencies on every platform, as one environment.yml has to have them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from packaging.version import InvalidVersion, Version

from envforge.model.lock import LockedPackage


def differing(
    names: Iterable[str], packages: Sequence[LockedPackage], manager: str
) -> dict[str, tuple[str, ...]]:
    """Direct dependencies that were solved to several versions: name to versions, oldest first."""
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        versions = {
            item.version for item in packages if (item.name, item.manager) == (name, manager)
        }
        # A wheel's local version (`+cu126`) names its index, and differs by platform.
        public = (
            {version.partition("+")[0] for version in versions} if manager == "pip" else versions
        )
        if len(public) > 1:
            found[name] = tuple(sorted(public, key=_age))
    return found


def agreed(
    names: Iterable[str], packages: Sequence[LockedPackage], manager: str, platforms: Sequence[str]
) -> dict[str, str]:
    """The versions to write back: of those that every platform has, in one version."""
    listed = list(names)
    split = differing(listed, packages, manager)
    versions: Mapping[str, dict[str, str]] = {name: {} for name in listed}
    for item in packages:
        if item.manager == manager and item.name in versions:
            version = item.version.partition("+")[0] if manager == "pip" else item.version
            versions[item.name][item.platform] = version
    return {
        name: next(iter(by_platform.values()))
        for name, by_platform in versions.items()
        if name not in split and set(by_platform) == set(platforms)
    }


def _age(version: str) -> tuple[int, Version, tuple[tuple[int, int, str], ...]]:
    """An order to *try* versions in; whether one fits is the solver's to say.

    Versions outside PEP 440 (`2024a`, `9e`) come by their numbers and letters.
    """
    parts = tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in re.findall(r"\d+|[a-z]+", version.lower())
    )
    try:
        return 0, Version(version), parts
    except InvalidVersion:
        return 1, Version("0"), parts
