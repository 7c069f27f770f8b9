"""The part of a pack that makes environments where there is neither envforge nor Python."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Final

from envforge.adapters import package_cache
from envforge.adapters.channels import resolve_channels
from envforge.adapters.pack import tool
from envforge.adapters.pack.supply import Supply
from envforge.adapters.pack.writing import digest_of
from envforge.errors import InvalidValue, Unsolvable
from envforge.forge.workplace import Workplace
from envforge.formats.conda import virtual_packages_yml
from envforge.model.lock import LockedPackage
from envforge.model.machine import Platform
from envforge.model.solving import CondaConflict, CondaProblem, WheelProblem
from envforge.model.spec import Dependency, VirtualPackage
from envforge.team import pack_tool
from envforge.team.pack_plan import EnvironmentToPack, PlannedMember

SCRIPT: Final = "bootstrap.sh"
TOOL: Final = "tool.tar"
SUM: Final = "tool.sha256"
_PYTHON: Final = "=3.12"
"""Where no environment of the pack has a Python that envforge runs on: all wheels exist for it."""
_PLAIN_LINUX: Final = (
    VirtualPackage(name="__glibc", version="2.28"),
    VirtualPackage(name="__linux", version="5.10"),
    VirtualPackage(name="__unix", version="0"),
)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Makes the members that come first in a pack."""

    workplace: Workplace
    supply: Supply
    folder: Path
    """To work in."""
    platform: Platform

    def members(self, environments: Sequence[EnvironmentToPack]) -> tuple[PlannedMember, ...]:
        """The script, the tool, and its hash.

        Raises:
            InvalidValue: there is no such thing for the platform.
            Unsolvable, Unreachable, CorruptArchive: Python or a wheel cannot be had.
        """
        if self.platform == "win-64":
            raise InvalidValue(
                what="platform",
                value=self.platform,
                reason="has no `sh` to bring envforge along for",
                remedy="leave that out with `--no-bootstrap`",
            )
        script = resources.files("envforge.adapters.pack").joinpath(SCRIPT).read_bytes()
        with self.workplace.reporter.step("packing envforge and its Python"):
            path = self._tool(environments)
        sha256 = digest_of(path)
        return (
            _small(SCRIPT, script),
            _small(SUM, f"{sha256}  {TOOL}\n".encode()),
            PlannedMember(name=TOOL, kind="tool", sha256=sha256, file=path),
        )

    def _tool(self, environments: Sequence[EnvironmentToPack]) -> Path:
        virtual = self._virtual(environments)
        locks = [item.packages for item in environments]
        python = pack_tool.choose_python(locks) or self._solved(virtual)
        version = next(item.version for item in python if item.name == "python")
        wheels = self._wheels(version, virtual)
        unpacked, target = self.folder / "unpacked", self.folder / TOOL
        shutil.rmtree(unpacked, ignore_errors=True)
        try:
            tool.write_tool(
                target,
                unpacked=[self._unpacked(item, unpacked) for item in python],
                wheels=[self.supply.archive(item) for item in wheels],
                python=version,
            )
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
        return target

    def _unpacked(self, package: LockedPackage, cache: Path) -> Path:
        """The folder of an unpacked package; what tells its format is the name of the archive."""
        archive = self.supply.archive(package)
        cache.mkdir(exist_ok=True)
        named = cache / package.filename
        os.symlink(archive.absolute(), named)  # noqa: PTH211 - either does
        package_cache.add(cache, package, named)
        return cache / package_cache.stem(package)

    def _virtual(self, environments: Sequence[EnvironmentToPack]) -> tuple[VirtualPackage, ...]:
        """What the machine is like, by the first environment that says it."""
        for item in environments:
            text = item.files.get("virtual-packages.yml")
            found = virtual_packages_yml.read(text, item.name).get(self.platform) if text else None
            if found:
                return found
        return _PLAIN_LINUX if self.platform.startswith("linux") else ()

    def _solved(self, virtual: tuple[VirtualPackage, ...]) -> tuple[LockedPackage, ...]:
        problem = CondaProblem(
            platform=self.platform,
            channels=resolve_channels(("conda-forge",), self.workplace.settings),
            dependencies=(Dependency(name="python", version=_PYTHON),),
            virtual_packages=virtual,
        )
        [answer] = self.workplace.solver.solve([problem])
        if isinstance(answer, CondaConflict):
            raise Unsolvable(platform=self.platform, explanation=answer.explanation)
        return answer.packages

    def _wheels(self, python: str, virtual: Sequence[VirtualPackage]) -> tuple[LockedPackage, ...]:
        """What envforge needs, in the versions that it runs with here, where they exist there."""
        requirements = tool.own_requirements()
        problem = WheelProblem(
            platform=self.platform,
            python=python,
            requirements=requirements,
            constraints=tool.installed_versions(requirements),
            glibc=next((item.version for item in virtual if item.name == "__glibc"), None),
        )
        try:
            return self.workplace.wheels.resolve(problem)
        except Unsolvable:
            return self.workplace.wheels.resolve(replace(problem, constraints=()))


def _small(name: str, data: bytes) -> PlannedMember:
    sha256 = hashlib.sha256(data).hexdigest()
    return PlannedMember(name=name, kind="bootstrap", sha256=sha256, data=data)
