"""A conda solver that chooses the newest of what it was given, without a channel or rattler.

    solver = FakeCondaSolver([package("numpy", "1.26"), package("numpy", "2.0")])

It implements `ports.CondaSolver` in the small: the newest version that meets every range said
about a name, dependencies followed, no second thoughts. What does not fit is a conflict.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from envforge.errors import Unreachable
from envforge.formats.conda.conda_spec import as_pip, split_depends
from envforge.model.lock import LockedPackage
from envforge.model.machine import Platform
from envforge.model.solving import CondaConflict, CondaProblem, CondaSolution
from envforge.model.spec import Dependency


def package(
    name: str,
    version: str,
    build: str = "h0_0",
    *,
    platform: Platform = "linux-64",
    channel: str = "conda-forge",
    depends: tuple[str, ...] = (),
    **changes: str,
) -> LockedPackage:
    """A record with made-up but stable hashes."""
    file = f"{name}-{version}-{build}.conda"
    fields = {
        "url": f"https://conda.anaconda.org/{channel}/{platform}/{file}",
        "sha256": hashlib.sha256(f"{channel}/{platform}/{file}".encode()).hexdigest(),
        "md5": hashlib.md5(file.encode(), usedforsecurity=False).hexdigest(),
    } | changes
    return LockedPackage(
        platform=platform, name=name, version=version, build=build, depends=depends, **fields
    )


@dataclass
class FakeCondaSolver:
    """Answers from a list of packages; counts what it was asked."""

    packages: Sequence[LockedPackage]
    unreachable: str | None = None
    asked: list[CondaProblem] = field(default_factory=list)

    def solve(self, problems: Sequence[CondaProblem]) -> tuple[CondaSolution | CondaConflict, ...]:
        self.asked += problems
        if self.unreachable:
            raise Unreachable(url=self.unreachable, reason="nothing answers there")
        return tuple(map(self._one, problems))

    def versions(self, problem: CondaProblem, names: Sequence[str]) -> dict[str, frozenset[str]]:
        """`ports.ChannelIndex`."""
        if self.unreachable:
            raise Unreachable(url=self.unreachable, reason="nothing answers there")
        here = [item for item in self.packages if item.platform == problem.platform]
        return {
            name: frozenset(item.version for item in here if item.name == name) for name in names
        }

    def known(
        self, problem: CondaProblem, packages: Sequence[LockedPackage]
    ) -> tuple[LockedPackage, ...]:
        """`ports.ChannelIndex`."""
        if self.unreachable:
            raise Unreachable(url=self.unreachable, reason="nothing answers there")
        wanted = {item.filename for item in packages}
        return tuple(item for item in self.packages if item.filename in wanted)

    def _one(self, problem: CondaProblem) -> CondaSolution | CondaConflict:
        wanted: dict[str, list[tuple[str, str]]] = {}
        for item in problem.dependencies:
            wanted.setdefault(item.name, []).append((item.version, item.build))
        limits = [(item.package, item.range) for item in problem.constraints]
        virtual = {item.name: [(item.version, item.build)] for item in problem.virtual_packages}
        chosen: dict[str, LockedPackage] = {}
        queue = list(wanted)
        while queue:
            name = queue.pop(0)
            if name.startswith("__"):
                if not virtual.get(name):
                    return self._conflict(problem, name, wanted[name])
                continue
            found = self._newest(problem, name, wanted[name], limits)
            if found is None:
                return self._conflict(problem, name, wanted[name])
            chosen[name] = found
            for spec in found.depends:
                dependency, rest = split_depends(spec)
                version, _, build = rest.partition(" ")
                wanted.setdefault(dependency, []).append((version, build))
                queue.append(dependency)
        return CondaSolution(platform=problem.platform, packages=tuple(sorted(chosen.values())))

    def _newest(
        self,
        problem: CondaProblem,
        name: str,
        ranges: Iterable[tuple[str, str]],
        limits: Iterable[tuple[str, str]],
    ) -> LockedPackage | None:
        every = [*ranges, *((text, "") for package_name, text in limits if package_name == name)]
        held = {item.name: item.url for item in problem.held}
        fitting = [
            item
            for item in self.packages
            if (item.name, item.platform) == (name, problem.platform)
            and all(_fits(item, version, build) for version, build in every)
            and item.url in held.get(name, item.url)
        ]
        kept = {item.url for item in problem.preferred}
        return max(
            fitting, key=lambda item: (item.url in kept, Version(item.version)), default=None
        )

    def _conflict(
        self, problem: CondaProblem, name: str, ranges: Sequence[tuple[str, str]]
    ) -> CondaConflict:
        known = {item.name for item in self.packages}
        text = f"No candidates were found for {name} {' '.join(ranges[-1]).strip() or '*'}."
        return CondaConflict(
            platform=problem.platform,
            explanation=text,
            unknown={} if name in known or name.startswith("__") else {name: ()},
        )


def _fits(item: LockedPackage, version: str, build: str) -> bool:
    if build and not fnmatchcase(item.build, build):
        return False
    if version in {"", "*"}:
        return True
    version = re.sub(r"\.0a0", "", version)
    spec = as_pip(Dependency(name=item.name, version=version)).version
    return SpecifierSet(spec).contains(item.version, prereleases=True)
