"""Why each package moved from one lock to another.

A package that nobody asked for moved *because* of another one where, as it was, it would not fit
what is locked now: something that is locked needs another version of it, or it needs another
version of something. It came along with what needs it, and went with what needed it. Whatever
would have fitted as it was, the solver chose afresh.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from envforge.formats.conda.conda_spec import split_depends
from envforge.model.difference import ASKED, FRESH, UNKNOWN, Cause
from envforge.model.lock import LockedPackage

if TYPE_CHECKING:
    from envforge.ports import VersionRules

ByName = Mapping[str, LockedPackage]
_NAME: Final = re.compile(r"[\w.-]+")
Edges = Mapping[str, tuple[tuple[str, str], ...]]
"""Package to those that it moved because of, each with a clause that says so."""


@dataclass(frozen=True, slots=True)
class _Sides:
    """One platform of both locks."""

    old: ByName
    new: ByName
    moved: frozenset[str]
    rules: VersionRules
    needing_old: Mapping[str, list[tuple[LockedPackage, str]]] = field(default_factory=dict)
    needing_new: Mapping[str, list[tuple[LockedPackage, str]]] = field(default_factory=dict)


def causes(
    old: Iterable[LockedPackage],
    new: Iterable[LockedPackage],
    moved: Collection[str],
    asked: Collection[str],
    rules: VersionRules,
) -> dict[str, Cause]:
    """Say for each package that moved, why.

    Args:
        old: one platform of the old lock.
        new: the same platform of the new one.
        moved: names of the packages that are not the same.
        asked: names of the direct dependencies of either side.
        rules: which version fits which range.
    """
    old_names, new_names = _by_name(old), _by_name(new)
    if not (_says_needs(old_names.values()) and _says_needs(new_names.values())):
        return {name: ASKED if name in asked else UNKNOWN for name in moved}
    sides = _Sides(
        old=old_names,
        new=new_names,
        moved=frozenset(moved),
        rules=rules,
        needing_old=_needing(old_names.values(), moved),
        needing_new=_needing(new_names.values(), moved),
    )
    edges: Edges = {name: tuple(_reasons(name, sides)) for name in sorted(moved)}
    return _walk(edges, set(asked) & sides.moved)


def tops(packages: Iterable[LockedPackage]) -> frozenset[str]:
    """The packages that no other needs: what was asked for, as far as a bare lock can tell."""
    listed = list(packages)
    if not _says_needs(listed):
        return frozenset()
    needed = {name for item in listed for name, _ in depends(item) if name != item.name}
    return frozenset(item.name for item in listed if item.name not in needed)


def _says_needs(packages: Iterable[LockedPackage]) -> bool:
    """Explicit lists and prefixes of wheels hold packages, and nothing of what they need."""
    return any(item.depends for item in packages)


def depends(package: LockedPackage) -> Iterator[tuple[str, str]]:
    """Name and range of what a package needs; virtual packages and markers left out."""
    for spec in package.depends:
        name, rest = _split(spec)
        if not name.startswith("__"):
            yield name, rest


@lru_cache(maxsize=32768)  # the packages of a lock need each other again and again
def _split(spec: str) -> tuple[str, str]:
    name, _, rest = spec.partition(" ")
    if not _NAME.fullmatch(name):  # `python>=3.8`, as repodata has it
        name, rest = split_depends(spec)
    return name, rest.partition(";")[0].strip()


def _by_name(packages: Iterable[LockedPackage]) -> dict[str, LockedPackage]:
    """A conda package before a wheel of its name."""
    found: dict[str, LockedPackage] = {}
    for item in packages:
        if item.name not in found or item.manager == "conda":
            found[item.name] = item
    return found


def _needing(
    packages: Iterable[LockedPackage], names: Collection[str]
) -> dict[str, list[tuple[LockedPackage, str]]]:
    """Who needs these packages, in which range."""
    found: dict[str, list[tuple[LockedPackage, str]]] = {}
    for item in packages:
        for name, spec in depends(item):
            if name in names:
                found.setdefault(name, []).append((item, spec))
    return found


def _reasons(name: str, sides: _Sides) -> Iterator[tuple[str, str]]:
    old, new = sides.old.get(name), sides.new.get(name)
    if old is None:
        yield from _comers(name, sides.needing_new.get(name, ()), sides)
    elif new is None:
        yield from _leavers(sides.needing_old.get(name, ()), sides)
    else:
        yield from _refusals(old, sides)
        yield from _own_needs(old, sides)


def _comers(
    name: str, needing: Iterable[tuple[LockedPackage, str]], sides: _Sides
) -> Iterator[tuple[str, str]]:
    for item, spec in needing:
        if item.name in sides.moved:
            yield item.name, f"{item.name} {item.version} needs {f'{name} {spec}'.rstrip()}"


def _leavers(
    needing: Iterable[tuple[LockedPackage, str]], sides: _Sides
) -> Iterator[tuple[str, str]]:
    for item, _ in needing:
        if item.name in sides.moved:
            now = sides.new.get(item.name)
            yield (
                item.name,
                f"{item.name} {now.version} does not need it" if now else f"{item.name} went",
            )


def _refusals(old: LockedPackage, sides: _Sides) -> Iterator[tuple[str, str]]:
    """What is locked now and would not have the package as it was."""
    for item, spec in sides.needing_new.get(old.name, ()):
        if item.name in sides.moved and sides.rules.fits(spec, old) is False:
            yield item.name, f"{item.name} {item.version} needs {old.name} {spec}"


def _own_needs(old: LockedPackage, sides: _Sides) -> Iterator[tuple[str, str]]:
    """What the package, as it was, would not find any more."""
    for name, spec in depends(old):
        if name not in sides.moved or name not in sides.old:
            continue
        now = sides.new.get(name)
        if now is None or sides.rules.fits(spec, now) is False:
            yield name, f"{old.name} {old.version} needs {f'{name} {spec}'.rstrip()}"


def _walk(edges: Edges, asked: Collection[str]) -> dict[str, Cause]:
    """Follow the reasons from what was asked for, then from what moved by itself."""
    effects: dict[str, list[tuple[str, str]]] = {}
    for name, reasons in edges.items():
        for cause, detail in reasons:
            effects.setdefault(cause, []).append((name, detail))
    found = dict.fromkeys(sorted(asked), ASKED)
    _spread(found, asked, effects)
    free = [name for name in edges if not edges[name] and name not in found]
    found.update(dict.fromkeys(free, FRESH))
    _spread(found, free, effects)
    for name in edges:  # rings that nothing outside of them began
        if name not in found:
            found[name] = FRESH
            _spread(found, [name], effects)
    return found


def _spread(
    found: dict[str, Cause],
    roots: Iterable[str],
    effects: Mapping[str, list[tuple[str, str]]],
) -> None:
    waiting = deque((root, root) for root in sorted(roots))
    while waiting:
        name, root = waiting.popleft()
        for effect, detail in effects.get(name, ()):
            if effect not in found:
                found[effect] = Cause(why="because", root=root, detail=detail)
                waiting.append((effect, root))
