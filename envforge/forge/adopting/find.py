"""What a source holds: torch, CUDA, cuDNN, Python, platforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from envforge.errors import EnvforgeError, InvalidFile, InvalidValue
from envforge.forge.locks import importing
from envforge.forge.workplace import Workplace, this_platform
from envforge.formats.conda import conda_spec
from envforge.matrix import versions
from envforge.model.cuda import CPU
from envforge.model.imported import DEFAULT_ENVIRONMENT, Imported, ImportedEnvironment
from envforge.model.lock import LockedPackage, Target
from envforge.model.machine import CUDA_PLATFORMS, PLATFORMS, Platform
from envforge.model.spec import AUTO, LATEST, TORCH_NAMES, Dependency
from envforge.team import adoption
from envforge.verify.lock_claim import claim_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line says, where the source does not or should not count."""

    project: str | None = None
    environment: str | None = None
    torch: str | None = None
    cuda: str | None = None
    python: str | None = None
    source: str | None = None
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the source was found to hold."""

    imported: Imported
    environment: ImportedEnvironment
    """The one of `imported` that is taken over."""
    platforms: tuple[Platform, ...]
    """Those that can have this CUDA; at least one."""
    torch: str
    """A release, or `latest`."""
    cuda: str
    """`11.8`, or `cpu`."""
    cudnn: str | None
    """None: the source does not say."""
    python: str | None
    """As exact as the source has it; None: it does not say."""
    source: str
    """Where torch is from, or `auto`."""
    notes: tuple[str, ...]
    """What was left out, a clause each."""


def find(workplace: Workplace, source: str, wanted: Wanted) -> Found:
    """Read the source, and tell what torch it has and what that is built for.

    Raises:
        InvalidFile, NoSuchEnvironment, FileNotUsable: it cannot be read, or holds no torch.
        InvalidValue: it does not say which CUDA, or which environment is meant.
    """
    source, named = importing.split_name(source)
    imported = importing.read_source(workplace, source)
    environment = _chosen(imported, replace(wanted, environment=wanted.environment or named))
    asked = _platforms(environment, wanted)
    claim, packages = _claim(workplace, environment, asked)
    torch = wanted.torch or _torch(packages, claim)
    cuda = wanted.cuda or _cuda(claim)
    if torch is None or cuda is None:
        raise _says_too_little(source, imported, torch)
    platforms, dropped = _of_one_accelerator(asked, cuda)
    python = wanted.python or _python(packages)
    return Found(
        imported=imported,
        environment=environment,
        platforms=platforms,
        torch=torch,
        cuda=cuda,
        cudnn=claim.cudnn if claim else None,
        python=python,
        source=wanted.source or (claim.source if claim else AUTO),
        notes=(*_platform_notes(environment), *dropped),
    )


def _chosen(imported: Imported, wanted: Wanted) -> ImportedEnvironment:
    """The environment that was named; of several without a name, the one that has torch."""
    with_torch = [item for item in imported.environments if _has_torch(item)]
    if wanted.environment is not None or wanted.torch is not None or not with_torch:
        return imported.choose(wanted.environment)
    if len(with_torch) == 1:
        return with_torch[0]
    chosen = next((item for item in with_torch if item.name == DEFAULT_ENVIRONMENT), None)
    if chosen is None:
        raise InvalidValue(
            what="source",
            value=imported.origin,
            reason="holds several environments with torch",
            remedy=imported.remedy(item.name for item in with_torch),
        )
    return chosen


def _has_torch(environment: ImportedEnvironment) -> bool:
    packages = environment.lock.packages if environment.lock else ()
    names = {item.name for item in packages} | {item.name for item in environment.dependencies}
    return not names.isdisjoint(TORCH_NAMES)


def _platforms(environment: ImportedEnvironment, wanted: Wanted) -> tuple[Platform, ...]:
    names = wanted.platforms or environment.platforms
    known = tuple(platform for platform in PLATFORMS if platform in names)
    return known or (this_platform(),)


def _platform_notes(environment: ImportedEnvironment) -> list[str]:
    return [
        f"platform {name}, which nobody publishes torch for any more"
        for name in environment.platforms
        if name not in PLATFORMS
    ]


def _of_one_accelerator(
    platforms: tuple[Platform, ...], cuda: str
) -> tuple[tuple[Platform, ...], list[str]]:
    if cuda in {CPU, AUTO}:
        return platforms, []
    kept = tuple(item for item in platforms if item in CUDA_PLATFORMS) or CUDA_PLATFORMS[:1]
    gone = [item for item in platforms if item not in kept]
    return kept, [
        f"platform {item}: it has no CUDA, and a folder has one accelerator" for item in gone
    ]


def _claim(
    workplace: Workplace, environment: ImportedEnvironment, platforms: Sequence[Platform]
) -> tuple[Target | None, tuple[LockedPackage, ...]]:
    """What torch is built for on the first platform that says; its packages go with it."""
    first: tuple[LockedPackage, ...] = ()
    for platform in platforms:
        packages = environment.lock.for_platform(platform) if environment.lock else ()
        if not packages:
            listed = adoption.as_packages(environment, platform)
            packages = tuple(_with_release(workplace, environment, item) for item in listed)
        first = first or packages
        claim = claim_of(packages, platform)
        if claim is not None:
            return claim, packages
    return None, first


def _with_release(
    workplace: Workplace, environment: ImportedEnvironment, item: LockedPackage
) -> LockedPackage:
    """A torch asked for by a range, or by `2.0`, becomes the newest release in it."""
    asked = environment.dependencies
    if item.name not in TORCH_NAMES:
        return item
    dependency = next(one for one in asked if (one.name, one.manager) == (item.name, item.manager))
    release = _newest(workplace, dependency)
    return replace(item, version=release) if release else item


def _newest(workplace: Workplace, dependency: Dependency) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    public = dependency.version.partition("+")[0]
    if dependency.url:
        return ""
    try:
        wanted = conda_spec.as_pip(replace(dependency, version=public))
        allowed = SpecifierSet(wanted.version if dependency.manager == "conda" else public)
    except (InvalidValue, InvalidSpecifier):
        return ""
    local = dependency.version.removeprefix(public) if "+" in dependency.version else ""
    known = [
        item
        for item in dict.fromkeys(build.torch for build in workplace.matrix.builds)
        if allowed.contains(item)
    ]
    newest = max(known, key=versions.key, default="")
    return f"{newest}{local}" if newest else adoption.plain_version(dependency.version)


def _torch(packages: Sequence[LockedPackage], claim: Target | None) -> str | None:
    if claim is not None and claim.torch:
        return claim.torch
    found = next((item for item in packages if item.name in TORCH_NAMES), None)
    if found is None:
        return None
    return found.version.partition("+")[0] or LATEST


def _cuda(claim: Target | None) -> str | None:
    if claim is None:
        return None
    return str(claim.cuda) if claim.cuda else CPU


def _python(packages: Sequence[LockedPackage]) -> str | None:
    found = next((item for item in packages if item.name == "python"), None)
    if found is None or not found.version:
        return None
    return found.version if found.version.count(".") else None


def _says_too_little(source: str, imported: Imported, torch: str | None) -> EnvforgeError:
    if torch is None:
        return InvalidFile(
            path=imported.origin,
            mistakes=("it holds no torch",),
            remedy="`--torch V --cuda V` adds it",
        )
    return InvalidValue(
        what="source",
        value=source,
        reason=f"does not say which CUDA its torch {torch} is built for",
        remedy="say so: for example `--cuda 12.1`, or `--cuda cpu`",
    )
