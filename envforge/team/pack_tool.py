"""The Python and the wheels that a pack brings for machines without envforge."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from packaging.version import InvalidVersion, Version

from envforge.model.lock import LockedPackage

OLDEST: Final = Version("3.10")
"""Of the Pythons that envforge runs on."""
_LEFT_OUT: Final = re.compile(
    r"lib/python[^/]*/(?:site-packages|ensurepip|idlelib|tkinter|turtledemo|lib2to3|pydoc_data"
    r"|test|config-[^/]*)/.*"
    r"|lib/(?:tcl|tk|itcl|thread|tdbc|sqlite|terminfo|pkgconfig|cmake)[^/]*/.*"
    r"|.*/__pycache__/.*|.*/tests?/.*|.*\.(?:a|o|pyc|la)"
)
_TAKEN: Final = re.compile(r"bin/python[0-9.]*|lib/.*|ssl/.*")


def choose_python(locks: Iterable[Sequence[LockedPackage]]) -> tuple[LockedPackage, ...]:
    """The newest Python of these locks that runs envforge, with all it needs; empty: none does.

    Args:
        locks: packages of one platform each.
    """
    found = [(version, packages) for packages in locks if (version := _python_of(packages))]
    if not found:
        return ()
    newest = max(version for version, _ in found)
    packages = next(packages for version, packages in found if version == newest)
    return closure(packages, "python")


def _python_of(packages: Iterable[LockedPackage]) -> Version | None:
    for item in packages:
        if item.manager == "conda" and item.name == "python":
            try:
                version = Version(item.version)
            except InvalidVersion:
                return None
            return version if version >= OLDEST else None
    return None


def closure(packages: Iterable[LockedPackage], name: str) -> tuple[LockedPackage, ...]:
    """A conda package of a lock, and everything that it depends on, sorted."""
    known = {item.name: item for item in packages if item.manager == "conda"}
    found: dict[str, LockedPackage] = {}
    waiting = [name]
    while waiting:
        item = known.get(waiting.pop())
        if item is not None and item.name not in found:
            found[item.name] = item
            waiting += [depend.split()[0] for depend in item.depends if depend.strip()]
    return tuple(sorted(found.values()))


def is_needed(path: str) -> bool:
    """Whether a file of a conda package belongs into the tool: what runs, not what builds."""
    return bool(_TAKEN.fullmatch(path)) and not _LEFT_OUT.fullmatch(path)


def requirements(metadata: Iterable[str]) -> tuple[str, ...]:
    """What a distribution asks for without extras, sorted; its `Requires-Dist` lines."""
    return tuple(sorted(line for line in metadata if not _EXTRA.search(line)))


_EXTRA: Final = re.compile(r";.*\bextra\s*==")
