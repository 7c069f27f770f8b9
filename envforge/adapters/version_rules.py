"""`ports.VersionRules`: rattler judges conda's versions, `packaging` those of wheels.

Most versions are plain numbers, which compare alike for everybody; they are judged here, since
loading rattler takes as long as comparing two locks. A test holds that against rattler.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final

from envforge.model.lock import LockedPackage

_LARGEST: Final = 16384
_NUMBERS: Final = re.compile(r"\d+(?:\.\d+)*")
_CLAUSE: Final = re.compile(r"(>=|<=|==|<|>|)(\d+(?:\.\d+)*)(a0|\.\*|)")
_Numbers = tuple[int, ...]
_COMPARE: Final[dict[tuple[str, str], Callable[[_Numbers, _Numbers], bool]]] = {
    (">=", ""): operator.ge,
    ("<=", ""): operator.le,
    ("==", ""): operator.eq,
    ("", ""): operator.eq,
    ("<", ""): operator.lt,
    (">", ""): operator.gt,
    # no plain version lies between the first pre-release and the release
    ("<", "a0"): operator.lt,
    (">=", "a0"): operator.ge,
}


class RealVersionRules:
    """Remembers what it has read: the packages of a lock name each other again and again."""

    def fits(self, spec: str, package: LockedPackage) -> bool | None:
        """See `ports.VersionRules.fits`."""
        if package.manager == "pip":
            return _fits_wheel(spec, package.version)
        version, _, build = spec.partition(" ")
        if build and not fnmatchcase(package.build, build.strip()):
            return False
        return _fits_conda(version, package.version)

    def is_newer(self, version: str, than: str, *, manager: str) -> bool | None:
        """See `ports.VersionRules.is_newer`."""
        plain = _plain(version), _plain(than)
        if plain[0] is not None and plain[1] is not None:
            return plain[0] > plain[1]
        read = _wheel_version if manager == "pip" else _conda_version
        one, other = read(version), read(than)
        return None if one is None or other is None else bool(one > other)


@lru_cache(maxsize=_LARGEST)
def _fits_conda(spec: str, version: str) -> bool | None:
    if spec in ("", "*"):
        return True
    if (plain := _fits_plain(spec, version)) is not None:
        return plain
    found = _conda_version(version)
    wanted = _conda_spec(spec)
    return None if found is None or wanted is None else bool(wanted.matches(found))


def _fits_plain(spec: str, version: str) -> bool | None:
    """Whether a plain version is in a plain range; None: one of them is not plain."""
    numbers = _plain(version)
    clauses = [_CLAUSE.fullmatch(clause) for clause in spec.split(",")]
    if numbers is None:
        return None
    fits = True
    for clause in clauses:
        compare = _COMPARE.get((clause[1], clause[3])) if clause else None
        if clause is None or compare is None:
            return None
        fits = fits and compare(numbers, _plain(clause[2]) or ())
    return fits


@lru_cache(maxsize=_LARGEST)
def _plain(version: str) -> _Numbers | None:
    """`1.10.0` as numbers without the zeros at its end, which count for nothing."""
    if not _NUMBERS.fullmatch(version):
        return None
    numbers = [int(part) for part in version.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


@lru_cache(maxsize=_LARGEST)
def _conda_spec(spec: str) -> Any:
    from rattler import VersionSpec
    from rattler.exceptions import InvalidVersionSpecError

    try:
        return VersionSpec(spec)
    except InvalidVersionSpecError:
        return None


@lru_cache(maxsize=_LARGEST)
def _conda_version(version: str) -> Any:
    from rattler import Version
    from rattler.exceptions import InvalidVersionError

    try:
        return Version(version)
    except InvalidVersionError:
        return None


@lru_cache(maxsize=_LARGEST)
def _fits_wheel(spec: str, version: str) -> bool | None:
    if not spec:
        return True
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    found = _wheel_version(version)
    try:
        # what is locked is what was resolved, so a pre-release counts as any other
        return (
            None
            if found is None
            else SpecifierSet(spec.strip("()")).contains(found, prereleases=True)
        )
    except InvalidSpecifier:
        return None


@lru_cache(maxsize=_LARGEST)
def _wheel_version(version: str) -> Any:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version)
    except InvalidVersion:
        return None
