"""Requirements that installed packages state, held against what is installed."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from envforge.verify.facts import Distribution, PrefixFacts

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_NAME: Final = re.compile(r"[\w-]*")
_PYTHON_OF_PATH: Final = re.compile(r"python(\d+\.\d+)/")
_MACHINES: Final[Mapping[str, tuple[str, str, str]]] = {
    "linux-64": ("linux", "Linux", "x86_64"),
    "linux-aarch64": ("linux", "Linux", "aarch64"),
    "osx-arm64": ("darwin", "Darwin", "arm64"),
    "win-64": ("win32", "Windows", "AMD64"),
}
"""Platform to sys_platform, platform_system and platform_machine (PyPA: dependency specifiers)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmet:
    """A requirement that what is installed does not meet."""

    package: str
    version: str
    requirement: str
    """`numpy<2`, without its marker."""
    needs: str
    """The required package, normalised."""
    found: str | None
    """Its installed version; None: it is not installed."""
    from_conda: bool
    """Whether conda installed the package that requires it."""


def unmet(
    prefix: PrefixFacts,
    platform: str,
    *,
    of: Collection[str] | None = None,
    needs: str | None = None,
) -> tuple[Unmet, ...]:
    """What `pip check` would say, for every distribution that names requirements.

    Extras count as not asked for. What cannot be parsed is passed over, as pip does.

    Args:
        prefix: where they are installed.
        platform: markers are judged for it.
        of: only requirements that these packages state; None: all do.
        needs: only requirements of this package; None: of any.
    """
    distributions = prefix.packages.distributions
    installed = {item.name: item for item in reversed(distributions)}
    environment = _environment(prefix, platform)
    return tuple(
        problem
        for item in distributions
        if of is None or item.name in of
        for text in item.requires
        if needs is None or _NAME.match(text)[0].lower() == needs  # type: ignore[index]
        if (problem := _judge(item, text, installed, environment)) is not None
    )


def meets(version: str, specifier: str) -> bool:
    """Whether a version lies in a range; pre-releases count, an unreadable version does too."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return True


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Requirement | None:
    """A requirement; None: it cannot be read."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def normalised(name: str) -> str:
    """A name as indexes spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _judge(
    item: Distribution,
    text: str,
    installed: Mapping[str, Distribution],
    environment: Mapping[str, str],
) -> Unmet | None:
    requirement = parse(text)
    if requirement is None or not _applies(requirement, environment):
        return None
    needs = normalised(requirement.name)
    found = installed.get(needs)
    if found is not None and meets(found.version, str(requirement.specifier)):
        return None
    return Unmet(
        package=item.name,
        version=item.version,
        requirement=f"{needs}{requirement.specifier}",
        needs=needs,
        found=found.version if found else None,
        from_conda=item.conda_owner is not None,
    )


def _applies(requirement: Requirement, environment: Mapping[str, str]) -> bool:
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName

    if requirement.marker is None:
        return True
    try:
        return requirement.marker.evaluate(dict(environment))
    except (UndefinedComparison, UndefinedEnvironmentName):
        return False


def _environment(prefix: PrefixFacts, platform: str) -> dict[str, str]:
    """What markers are evaluated with: the environment's Python, not ours."""
    system, name, machine = _MACHINES.get(platform, _MACHINES["linux-64"])
    found = {"sys_platform": system, "platform_system": name, "platform_machine": machine}
    found |= {"extra": "", "os_name": "nt" if system == "win32" else "posix"}
    python = python_of(prefix)
    if python:
        found["python_version"] = ".".join(python.split(".")[:2])
        found["python_full_version"] = python if python.count(".") > 1 else f"{python}.0"
    return found


def python_of(prefix: PrefixFacts) -> str | None:
    """Version of the prefix's Python, `3.10.14`, or `3.10` where only folders tell it."""
    conda = next((item.version for item in prefix.conda if item.name == "python"), None)
    if conda:
        return conda
    paths = [item.folder for item in prefix.packages.distributions]
    paths += [prefix.torch.package] if prefix.torch else []
    return next((found[1] for path in paths if (found := _PYTHON_OF_PATH.search(path))), None)
