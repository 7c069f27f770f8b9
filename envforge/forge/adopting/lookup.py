"""What a list leaves out, looked up in the channels: which package needs which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from envforge.adapters.channels import resolve_channels
from envforge.errors import EnvforgeError, OutsideError
from envforge.forge.solving.asking import Decision
from envforge.forge.workplace import Workplace
from envforge.formats.conda import environment_source
from envforge.model.imported import ImportedEnvironment
from envforge.model.lock import Lock, LockedPackage
from envforge.model.machine import Platform
from envforge.model.solving import CondaProblem
from envforge.team import adoption


def with_depends(
    workplace: Workplace, environment: ImportedEnvironment, decision: Decision
) -> ImportedEnvironment:
    """An explicit list, or a full `conda env export`, with what its packages need.

    Then what was asked for can be told from what came along. Out of reach, all of it counts.
    """
    platform = decision.request.platforms[0]
    if environment.lock is None and environment_source.is_full_export(environment):
        listed = environment_source.as_lock(environment, platform)
    elif environment.lock is None or environment.dependencies:
        return environment
    else:
        listed = environment.lock
    if adoption.knows_dependencies(listed.packages):
        return environment
    try:
        found = _looked_up(workplace, listed, platform)
    except OutsideError as error:
        workplace.reporter.note(f"which packages were asked for is not known: {error}")
        return environment
    known = {_identity(item): item for item in found}
    packages = (known.get(_identity(item), item) for item in listed.packages)
    wheels = tuple(item for item in environment.dependencies if item.manager == "pip")
    return replace(
        environment,
        lock=replace(listed, packages=tuple(sorted(_as_listed(packages, platform)))),
        dependencies=wheels,
    )


def _identity(item: LockedPackage) -> tuple[str, str, str, str]:
    return item.manager, item.name, item.version, item.build


def _as_listed(packages: Iterable[LockedPackage], platform: Platform) -> Iterable[LockedPackage]:
    return (replace(item, platform=platform) for item in packages)


def _looked_up(workplace: Workplace, lock: Lock, platform: Platform) -> tuple[LockedPackage, ...]:
    names = dict.fromkeys(map(adoption.channel_name, lock.channels))
    wanted = [name for name in names if not adoption.is_defaults(name) and name != "nodefaults"]
    channels, _ = readable(workplace, wanted or ["conda-forge"])
    problem = CondaProblem(
        platform=platform,
        channels=resolve_channels(channels, workplace.settings),
        dependencies=(),
    )
    conda = [item for item in lock.packages if item.manager == "conda"]
    with workplace.reporter.step("looking up what the packages of the list need"):
        return workplace.channel_index.known(problem, conda)


def readable(workplace: Workplace, names: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The channels whose place is known here, and why others' is not: a mirror may lack some."""
    kept, notes = list[str](), list[str]()
    for name in names:
        try:
            resolve_channels((name,), workplace.settings)
        except EnvforgeError as error:  # noqa: PERF203 - a handful
            notes.append(f"channel `{adoption.channel_name(name)}`: {error}")
        else:
            kept.append(name)
    return tuple(kept), notes
