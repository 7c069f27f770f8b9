"""`verify`: finds what was named, has the facts gathered, and has them judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from envforge.errors import EnvforgeError, NoSuchEnvironment
from envforge.forge import folders
from envforge.forge.judging import gathering, places
from envforge.forge.judging.naming import Looking, Named, refuse_nonsense
from envforge.forge.judging.places import Place
from envforge.forge.prefixes import locating
from envforge.forge.workplace import Workplace
from envforge.model.finding import Report, Unseen
from envforge.model.machine import Machine

if TYPE_CHECKING:
    from envforge.verify.check import Check


def checks() -> Mapping[str, Check]:
    """The table, plug-ins included."""
    from envforge.adapters import check_plugins

    return check_plugins.all_checks()


def verify(workplace: Workplace, named: Named, looking: Looking) -> tuple[Report, ...]:
    """What was named, or every environment that is installed.

    Raises:
        InvalidValue: a contradiction, a check that does not exist, or no such thing.
        NoSuchEnvironment: the environment is not known, or nothing was named or is installed.
        InvalidFile, FileNotUsable, StaleLock: what was named has no lock that can be read.
    """
    refuse_nonsense(named, looking)
    if looking.only or looking.skip:
        _tell_slips(looking)
    machine = _described(workplace, named)
    if not named.is_everything:
        return (_judged(workplace, places.find(workplace, named, looking), looking, machine),)
    installed = _installed(workplace)
    if not installed:
        raise NoSuchEnvironment(name="", searched=str(workplace.settings.envs_folder))
    return tuple(_one_of_several(workplace, folder, looking, machine) for folder in installed)


def _tell_slips(looking: Looking) -> None:
    """Before anything is looked at."""
    from envforge.verify import registry

    registry.chosen(checks(), only=looking.only, skip=looking.skip)


def verify_one(workplace: Workplace, folder: Path, prefix: Path | None, looking: Looking) -> Report:
    """An environment by its folder, as after an install.

    Raises:
        StaleLock, InvalidFile: it has no lock that can be read.
    """
    return _judged(workplace, places.of_folder(workplace, folder, prefix), looking, None)


def _described(workplace: Workplace, named: Named) -> Machine | None:
    if not named.is_described:
        return None
    from envforge import matrix

    return matrix.described(named.driver, named.gpus, workplace.matrix)


def _installed(workplace: Workplace) -> list[Path]:
    known = map(workplace.environments.folder, workplace.environments.names())
    return [folder for folder in known if locating.find_prefix(workplace, folder) is not None]


def _one_of_several(
    workplace: Workplace, folder: Path, looking: Looking, machine: Machine | None
) -> Report:
    """What cannot be judged is a problem of its own, and the others go on."""
    try:
        place = places.of_folder(workplace, folder, None)
        return _judged(workplace, place, looking, machine)
    except EnvforgeError as error:
        remedy = error.hint or f"`envforge verify {folder.name}` alone"
        return Report(
            subject=folder.name,
            prefix=str(locating.find_prefix(workplace, folder) or ""),
            level=looking.level or "static",
            outcomes=(),
            require_gpu=looking.require_gpu,
            asked=tuple(looking.only),
            unseen=(Unseen(what="environment", reason=str(error), remedy=remedy),),
        )


def _judged(
    workplace: Workplace, place: Place, looking: Looking, machine: Machine | None
) -> Report:
    with workplace.reporter.step(f"verifying {place.name}"):
        subject = gathering.subject_of(workplace, place, looking, machine)
        from envforge.verify import verify as judging

        report = judging.report(subject, only=looking.only, skip=looking.skip, checks=checks())
    if machine is None and not (looking.only or looking.skip):
        _remember(workplace, place, report)
    return report


def _remember(workplace: Workplace, place: Place, report: Report) -> None:
    """For the page of `envforge report`; only what was judged in full, and here."""
    if place.kind != "environment" or place.folder is None or place.lock is None:
        return
    from envforge.adapters.last_verified import LastVerified

    memory = LastVerified(workplace.settings.cache)
    memory.remember(place.folder, report, folders.digest(place.lock))
