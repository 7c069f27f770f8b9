"""A lock against a prefix: which packages have to come, change and go."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envforge.model.lock import LockedPackage
from envforge.model.prefix import InstalledPackage, InstallPlan

_Key = tuple[str, str]


def plan_install(
    wanted: Iterable[LockedPackage],
    installed: Iterable[InstalledPackage],
    prefix: Path,
    *,
    damaged: Collection[InstalledPackage] = (),
) -> InstallPlan:
    """The smallest transaction that makes the prefix equal to the lock.

    Args:
        wanted: the lock's packages of one platform.
        installed: what the prefix's metadata tells.
        prefix: where.
        damaged: installed packages with missing files; put in again even where they are as locked.
    """
    target = {_key(item): item for item in wanted}
    present = {_key(item): item for item in installed}
    moved = _python_moved(target, present)
    change, keep = [], 0
    for key in sorted(target.keys() & present.keys()):
        old, new = present[key], target[key]
        if old in damaged or (moved and new.manager == "pip") or not is_same(old, new):
            change.append((old, new))
        else:
            keep += 1
    return InstallPlan(
        prefix=prefix,
        add=tuple(target[key] for key in sorted(target.keys() - present.keys())),
        change=tuple(change),
        remove=tuple(present[key] for key in sorted(present.keys() - target.keys())),
        keep=keep,
    )


def is_same(old: InstalledPackage, new: LockedPackage) -> bool:
    """Whether what is installed is what is locked, as far as both say.

    Hashes count where both are known (a mirror serves the same bytes from elsewhere), then
    addresses; wheels from an index say neither, so their version has to do.
    """
    if new.manager == "pip":
        if not _same_version(old.version, new.version):
            return False
    elif (old.version, old.build) != (new.version, new.build):
        return False
    if old.sha256 and new.sha256:
        return old.sha256 == new.sha256
    return new.manager == "pip" or not old.url or old.url == new.url


def moves_python(plan: InstallPlan) -> bool:
    """Whether the transaction changes Python's minor version, and so where wheels lie."""
    return any(
        new.name == "python" and new.manager == "conda" and _minor(old) != _minor(new)
        for old, new in plan.change
    )


def coming(plan: InstallPlan) -> tuple[LockedPackage, ...]:
    """The packages that the transaction puts in."""
    return (*plan.add, *(new for _, new in plan.change))


def lock_digest(packages: Iterable[LockedPackage], variables: Mapping[str, str]) -> str:
    """SHA-256 over all that an install takes from a lock: one platform's packages, variables."""
    lines = [
        f"{item.manager}\t{item.name}\t{item.version}\t{item.build}\t{item.url}\t{item.sha256}"
        for item in packages
    ]
    lines += [f"variable\t{name}\t{value!r}" for name, value in variables.items()]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _key(package: LockedPackage | InstalledPackage) -> _Key:
    name = canonicalize_name(package.name) if package.manager == "pip" else package.name
    return package.manager, name


def _python_moved(
    target: Mapping[_Key, LockedPackage], present: Mapping[_Key, InstalledPackage]
) -> bool:
    old, new = present.get(("conda", "python")), target.get(("conda", "python"))
    return old is not None and new is not None and _minor(old) != _minor(new)


def _minor(python: LockedPackage | InstalledPackage) -> tuple[str, ...]:
    return tuple(python.version.split(".")[:2])


def _same_version(left: str, right: str) -> bool:
    try:
        return Version(left) == Version(right)
    except InvalidVersion:
        return left == right
