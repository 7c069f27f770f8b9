"""Packages in the order they can be linked: what others need comes first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from packaging.utils import canonicalize_name

from envforge.model.lock import LockedPackage

_NAME: Final = re.compile(r"\s*(?:\S+::)?(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?)")


def dependencies_first(packages: Iterable[LockedPackage]) -> tuple[LockedPackage, ...]:
    """Sort the packages of one platform, by name where nothing else decides.

    Circles, which conda packages may have, are broken where they close.
    """
    by_name: dict[str, LockedPackage] = {}
    for item in sorted(packages, key=lambda item: (item.name, item.manager)):
        by_name.setdefault(item.name, item)
    ordered: dict[str, LockedPackage] = {}
    seen: set[str] = set()
    for name, package in by_name.items():
        if name in seen:
            continue
        seen.add(name)
        path = [(name, _needs(package, by_name))]
        while path:
            here, needs = path[-1]
            following = next((need for need in needs if need not in seen), None)
            if following is None:
                ordered[here] = by_name[here]
                path.pop()
            else:
                seen.add(following)
                path.append((following, _needs(by_name[following], by_name)))
    return tuple(ordered.values())


def _needs(item: LockedPackage, known: dict[str, LockedPackage]) -> Iterator[str]:
    names = set(needed_names(item))
    return iter(sorted(names & known.keys()))


def roots(packages: Iterable[LockedPackage]) -> tuple[LockedPackage, ...]:
    """The packages of one platform that no other one needs: what somebody asked for, at least."""
    found = tuple(packages)
    needed = {name for item in found for name in needed_names(item)}
    return tuple(item for item in found if item.name not in needed)


def needed_names(item: LockedPackage) -> Iterator[str]:
    """The names that a package's dependencies begin with, whatever follows.

    Extras, markers and ranges of every tool's own locks are passed over: only what is needed
    counts here, and not in which version.
    """
    for spec in item.depends:
        if found := _NAME.match(spec):
            name = found["name"]
            yield canonicalize_name(name) if item.manager == "pip" else name
