"""The exact difference of two locks as moves: one a package, whatever number of platforms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from envforge.model.difference import (
    Cause,
    Group,
    LockDifference,
    Move,
    MoveKind,
    PackageChange,
    Why,
    origin,
)
from envforge.model.lock import Lock, LockedPackage
from envforge.team import why as reasons_of
from envforge.team.addresses import PUBLIC

if TYPE_CHECKING:
    from envforge.ports import VersionRules

_Row = tuple[str, MoveKind, str, str]
"""Name, kind, before, after: equal ones of several platforms are one move."""
_UNROOTED: Final = ""


def moves(
    difference: LockDifference,
    old: Lock,
    new: Lock,
    *,
    platforms: Iterable[str],
    asked: Collection[str] | None,
    rules: VersionRules,
) -> tuple[Move, ...]:
    """Every material change on these platforms, with its reason, sorted by name.

    Args:
        difference: of the two locks.
        old: the old lock.
        new: the new one.
        platforms: those to look at.
        asked: names of direct dependencies; None: not known, so what no package needs counts.
        rules: which version is newer, and which fits which range.
    """
    rows: dict[tuple[_Row, Cause], list[str]] = {}
    changed: dict[str, list[PackageChange]] = {}
    for change in difference.material:
        changed.setdefault(change.either.platform, []).append(change)
    for platform in platforms:
        here = changed.get(platform, [])
        if not here:
            continue
        before, after = old.for_platform(platform), new.for_platform(platform)
        direct = reasons_of.tops(before) | reasons_of.tops(after) if asked is None else asked
        names = {change.either.name for change in here}
        reasons = reasons_of.causes(before, after, names, direct, rules)
        for name, one, other in _paired(here):
            row = _row(name, one, other, rules)
            rows.setdefault((row, reasons[name]), []).append(platform)
    return tuple(
        Move(name=row[0], kind=row[1], before=row[2], after=row[3], platforms=at, cause=cause)
        for (row, cause), at in _joined(rows)
    )


def groups(found: Iterable[Move]) -> tuple[tuple[Move, ...], tuple[Group, ...]]:
    """What was asked for, and the others by their reason: the largest groups first."""
    asked: list[Move] = []
    others: dict[str, list[Move]] = {}
    for move in found:
        if move.cause.why == "asked":
            asked.append(move)
        else:
            others.setdefault(move.cause.root, []).append(move)
    unrooted = others.pop(_UNROOTED, [])
    ordered = sorted(others.items(), key=lambda item: (-len(item[1]), item[0]))
    listed = [Group(why="because", root=root, moves=tuple(inside)) for root, inside in ordered]
    kinds: tuple[Why, ...] = ("fresh", "unknown")
    for why in kinds:
        inside = tuple(move for move in unrooted if move.cause.why == why)
        if inside:
            listed.append(Group(why=why, root=_UNROOTED, moves=inside))
    return tuple(asked), tuple(listed)


def _joined(
    rows: Mapping[tuple[_Row, Cause], list[str]],
) -> list[tuple[tuple[_Row, Cause], tuple[str, ...]]]:
    """One move for platforms whose reasons differ in their wording only."""
    found: dict[tuple[_Row, str, str], tuple[Cause, list[str]]] = {}
    for (row, cause), platforms in rows.items():
        kept = found.setdefault((row, cause.why, cause.root), (cause, []))
        kept[1].extend(platforms)
    return [((key[0], cause), tuple(at)) for key, (cause, at) in sorted(found.items())]


def _paired(
    changes: Iterable[PackageChange],
) -> list[tuple[str, LockedPackage | None, LockedPackage | None]]:
    """A package that one manager gives up and the other takes is one move."""
    before: dict[str, LockedPackage] = {}
    after: dict[str, LockedPackage] = {}
    found: list[tuple[str, LockedPackage | None, LockedPackage | None]] = []
    for change in changes:
        if change.before and change.after:
            found.append((change.either.name, change.before, change.after))
        elif change.before:
            before[change.either.name] = change.before
        elif change.after:
            after[change.either.name] = change.after
    found += [(name, before.get(name), after.get(name)) for name in before.keys() | after.keys()]
    return sorted(found, key=lambda item: item[0])


def _row(
    name: str, old: LockedPackage | None, new: LockedPackage | None, rules: VersionRules
) -> _Row:
    if old is None or new is None:
        kind: MoveKind = "added" if old is None else "removed"
        return name, kind, _shown(old), _shown(new)
    kind = _kind(old, new, rules)
    one, other = _distinguished(old, new, kind)
    return name, kind, f"{old.version}{one}", f"{new.version}{other}"


def _shown(package: LockedPackage | None) -> str:
    return package.version if package else ""


def _distinguished(old: LockedPackage, new: LockedPackage, kind: MoveKind) -> tuple[str, str]:
    """What tells the two apart beside the version."""
    if old.manager != new.manager:
        return f" ({old.manager})", f" ({new.manager})"
    if kind == "rebuilt":
        return f" {old.build}", f" {new.build}"
    if kind == "other-source":
        return f" from {_short(old)}", f" from {_short(new)}"
    if kind == "other-bytes":
        return f" {_hash(old)}", f" {_hash(new)}"
    return "", ""


def _kind(old: LockedPackage, new: LockedPackage, rules: VersionRules) -> MoveKind:
    if old.version != new.version:
        newer = rules.is_newer(new.version, old.version, manager=new.manager)
        if newer is None or old.manager != new.manager:
            return "changed"
        return "upgraded" if newer else "downgraded"
    if old.manager == new.manager and old.build != new.build:
        return "rebuilt"
    if old.manager != new.manager or origin(old) != origin(new):
        return "other-source"
    return "other-bytes"


def _short(package: LockedPackage) -> str:
    return origin(package).removeprefix(f"{PUBLIC}/") or "somewhere"


def _hash(package: LockedPackage) -> str:
    return (package.sha256 or package.md5)[:12]
