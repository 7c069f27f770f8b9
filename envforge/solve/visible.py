"""Known-bad ranges that took part in a solve are shown in environment.yml."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from envforge.errors import InvalidValue
from envforge.model.lock import LockedPackage
from envforge.model.spec import Constraint, Dependency, EnvironmentSpec
from envforge.solve import wheel_names


def constrained_dependencies(
    spec: EnvironmentSpec, constraints: Sequence[Constraint], packages: Sequence[LockedPackage]
) -> Iterator[Dependency]:
    """Packages that a constraint held back, as direct dependencies with the reason behind.

    Only those that every platform has in one version: environment.yml is one list for all.
    """
    direct: set[tuple[str, str]] = {(item.manager, item.name) for item in spec.dependencies}
    for constraint in constraints:
        for manager, name in (("conda", constraint.package), ("pip", _wheel(constraint.package))):
            found = [item for item in packages if (item.manager, item.name) == (manager, name)]
            versions = {item.version for item in found}
            everywhere = {item.platform for item in found} == set(spec.platforms)
            if name is None or (manager, name) in direct or not everywhere or len(versions) > 1:
                continue
            direct.add((manager, name))
            yield _shown(constraint, found[0])


def wheel_constraints(constraints: Sequence[Constraint]) -> tuple[str, ...]:
    """The same ranges for wheels, PEP 508; those that no wheel has a name for are left out."""
    found = []
    for constraint in constraints:
        name = _wheel(constraint.package)
        if name is None:
            continue
        try:
            version = wheel_names.wheel_version(constraint.range)
            SpecifierSet(version)
        except (InvalidValue, InvalidSpecifier):
            continue
        found.append(f"{name}{version}")
    return tuple(found)


def _wheel(name: str) -> str | None:
    try:
        return str(canonicalize_name(wheel_names.wheel_name(name)))
    except InvalidValue:
        return None


def _shown(constraint: Constraint, package: LockedPackage) -> Dependency:
    source = f" ({constraint.source})" if constraint.source else ""
    reason = constraint.reason.replace(";", ",").replace("[", "(").replace("]", ")")
    return Dependency(
        name=package.name,
        version=f"{'=' if package.manager == 'conda' else '=='}{package.version}",
        manager=package.manager,
        comment=f"asked: {constraint.range}; {reason}{source}",
    )
