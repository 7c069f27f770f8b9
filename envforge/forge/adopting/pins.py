"""Which pins hold: looked up in the channels, then solved, with fewer where it must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from envforge.adapters.environments import ENVIRONMENT_YML
from envforge.errors import OutsideError, Unsolvable, WrongBuild
from envforge.forge.adopting.draft import Draft
from envforge.forge.solving import preparing
from envforge.forge.workplace import Workplace
from envforge.formats.conda import environment_yml
from envforge.formats.conda.environment_yml import EnvironmentDocument
from envforge.model.lock import LockedPackage
from envforge.model.spec import Dependency
from envforge.solve import lock as solving
from envforge.solve.lock import Locked
from envforge.team import adoption

_ROUNDS: Final = 8
"""Attempts to solve, each with fewer pins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of solving."""

    document: EnvironmentDocument
    locked: Locked | None = None
    loosened: Mapping[str, str] = field(default_factory=dict)
    """Name to the reason why its pin does not hold."""
    unchecked: str = ""
    """Why nothing was solved."""
    unsolved: str = ""
    """Why there is no solution."""


def solve(workplace: Workplace, draft: Draft, preferred: tuple[LockedPackage, ...]) -> Attempt:
    """Solve with all pins that can be had, else with fewer; nothing else moves unless it must."""
    gone = dict[str, str]()
    try:
        there = _available(workplace, draft, gone)
    except OutsideError as error:
        return Attempt(document=draft.inputs.document, unchecked=str(error))
    document, loosened, reason = there, dict(gone), ""
    for _ in range(_ROUNDS):
        inputs = replace(draft.inputs, document=document, preferred=preferred)
        try:
            locked = solving.lock(inputs, workplace.solver, workplace.wheels, workplace.reporter)
        except Unsolvable as error:
            reason = reason or str(error)
            wider = _wider(document, draft, error, loosened)
            if wider is None:
                break
            document = wider
        except OutsideError as error:
            return Attempt(document=there, loosened=gone, unchecked=str(error))
        except WrongBuild as error:
            return Attempt(document=there, loosened=gone, unsolved=str(error))
        else:
            return Attempt(document=locked.document, locked=locked, loosened=loosened)
    return Attempt(document=there, loosened=gone, unsolved=reason)


def _available(workplace: Workplace, draft: Draft, loosened: dict[str, str]) -> EnvironmentDocument:
    """The document without pins that no channel can meet; conda's only.

    Raises:
        Unreachable: a channel cannot be read.
    """
    document = draft.inputs.document
    names = {item.name for item in draft.pins if item.manager == "conda"} | {"python"}
    with workplace.reporter.step("looking which of the pins can still be had"):
        found = [
            workplace.channel_index.versions(problem, sorted(names))
            for problem in solving.problems(document, draft.inputs)
        ]
    lines: list[Dependency] = []
    for item in document.spec.dependencies:
        if item.manager != "conda" or item.name not in names:
            lines.append(item)
            continue
        wish: Dependency | None = item
        for versions_there in found:
            wish = wish and adoption.fitting(wish, versions_there[item.name])
        if wish is None:
            loosened[item.name] = "no channel has it"
        elif wish != item:
            loosened[item.name] = "no channel has that version any more"
        lines += [wish] if wish else []
    return _with_lines(document, lines)


def _with_lines(document: EnvironmentDocument, lines: Sequence[Dependency]) -> EnvironmentDocument:
    if tuple(lines) == document.spec.dependencies:
        return document
    spec = replace(document.spec, dependencies=tuple(lines))
    text = environment_yml.write(spec, preparing.HEADER.format(name=spec.name))
    return environment_yml.read(text, ENVIRONMENT_YML)


def _wider(
    document: EnvironmentDocument, draft: Draft, error: Unsolvable, loosened: dict[str, str]
) -> EnvironmentDocument | None:
    """The document with wider pins where the solver's reasons point, else everywhere."""
    names = {item.name for item in draft.pins} | {"python"}
    lines = {(item.manager, item.name): item for item in document.spec.dependencies}
    pinned = {key: item for key, item in lines.items() if item.name in names and _is_pin(item)}
    unknown = [key for key in lines if key[1] in error.spellings and key[1] in names]
    if unknown:
        for key in unknown:
            del lines[key]
            loosened[key[1]] = "no channel has it"
    else:
        spoken = adoption.mentioned(error.explanation, {name for _, name in pinned})
        chosen = [key for key in pinned if key[1] in spoken] or list(pinned)
        if not chosen:
            return None
        for key in chosen:
            lines[key] = _next(pinned[key])
            loosened[key[1]] = "that version is not there any more, or does not fit the rest"
    return _with_lines(document, tuple(lines.values()))


def _is_pin(item: Dependency) -> bool:
    if item.name == "python":
        return item.version.count(".") > 1
    return bool(item.version) and not item.url


def _next(item: Dependency) -> Dependency:
    wider = adoption.loosened(item)
    return wider if wider is not None else item
