"""What a source becomes: a request that the matrix agrees to, and environment.yml."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envforge.adapters.environments import ENVIRONMENT_YML
from envforge.errors import InvalidValue, NoMatchingBuild
from envforge.forge.adopting.find import Found, Wanted
from envforge.forge.adopting.lookup import readable
from envforge.forge.folders import VARIABLES
from envforge.forge.solving import asking, preparing
from envforge.forge.solving.asking import Decision
from envforge.forge.workplace import Workplace
from envforge.formats.conda import conda_spec, environment_yml
from envforge.formats.conda.environment_yml import EnvironmentDocument
from envforge.model.cuda import accelerator_name
from envforge.model.imported import ImportedEnvironment
from envforge.model.machine import Platform
from envforge.model.spec import AUTO, Dependency
from envforge.solve.lock import LockInputs
from envforge.team import adoption


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The inputs of a solve, and how they came about."""

    decision: Decision
    inputs: LockInputs
    pins: tuple[Dependency, ...]
    """Direct dependencies beside torch and Python, as they stand in the document."""
    not_carried: tuple[str, ...]


def decide(workplace: Workplace, found: Found, wanted: Wanted) -> tuple[Decision, list[str]]:
    """The matrix's choice: as the source has it, else from another place or for fewer platforms."""
    environment = found.environment
    origin = str(Path(found.imported.origin).expanduser().absolute())
    project = wanted.project or adoption.project_name(
        environment.name, origin, is_pixi=found.imported.kind.startswith("pixi")
    )
    minor = found.python and ".".join(found.python.split(".")[:2])
    first: NoMatchingBuild | None = None
    tries: list[tuple[str, tuple[Platform, ...]]] = [
        (source, platforms)
        for source in dict.fromkeys((found.source, AUTO))
        for platforms in dict.fromkeys((found.platforms, found.platforms[:1]))
    ]
    for source, platforms in tries:
        request = asking.make_request(
            workplace,
            project,
            torch=found.torch,
            cuda=found.cuda,
            python=minor,
            source=source,
            channels=adoption.foreign_channels(environment.channels),
            platforms=platforms,
        )
        try:
            decision = asking.decide(workplace, request, force=True, command="lock")
        except NoMatchingBuild as error:
            first = first or error
            continue
        return decision, list(_decided_otherwise(found, decision, platforms))
    assert first is not None  # noqa: S101 - there is at least one attempt
    raise first


def _decided_otherwise(found: Found, decision: Decision, platforms: Sequence[str]) -> list[str]:
    choice = decision.choice
    notes = [
        f"platform {item}: there is no torch {choice.torch} for {accelerator_name(choice.cuda)}"
        for item in found.platforms
        if item not in platforms
    ]
    if found.source not in (AUTO, choice.source):
        notes.append(
            f"torch from {found.source}, where this build is not known; {choice.source} has it"
        )
    return notes


def make_draft(workplace: Workplace, found: Found, decision: Decision) -> Draft:
    """The inputs of a solve: everything that can be carried over, as narrow as it was."""
    environment, wheels = found.environment, decision.choice.source == "wheels"
    direct = adoption.direct(environment, decision.request.platforms[0], wheels=wheels)
    lost = [*found.notes, *adoption.lost_on_the_way(environment), *direct.not_carried]
    pins, unreadable = _written((*direct.conda, *direct.pip))
    channels, unread = readable(workplace, decision.request.channels)
    gone = set(decision.request.channels) - set(channels)
    pins = [replace(item, channel=None) if item.channel in gone else item for item in pins]
    decision = replace(decision, request=replace(decision.request, channels=channels))
    conda = [] if wheels else [item for item in pins if item.manager == "conda"]
    inputs, contradicting = _inputs(workplace, decision, map(conda_spec.format_conda, conda))
    clashing = {conda_spec.parse(text).name for text, _ in contradicting}
    lost += [*unreadable, *unread, *(f"`{text}`: {reason}" for text, reason in contradicting)]
    pins = [item for item in pins if not (item.manager == "conda" and item.name in clashing)]
    document = _document(inputs.document, decision.name, pins, environment, python=found.python)
    metadata = dict(inputs.metadata)
    if environment.variables:
        metadata[VARIABLES] = json.dumps(dict(environment.variables), sort_keys=True)
    return Draft(
        decision=decision,
        inputs=replace(inputs, document=document, metadata=metadata, other_pythons=()),
        pins=tuple(pins),
        not_carried=tuple(dict.fromkeys(lost)),
    )


def _written(items: Iterable[Dependency]) -> tuple[list[Dependency], list[str]]:
    """Those that our files can hold, and a clause for each other."""
    pins, notes = list[Dependency](), list[str]()
    for item in items:
        if adoption.written(item) is None:
            kind = "the wheel " if item.manager == "pip" else ""
            notes.append(f"{kind}`{item.name}`, asked for in a way that a lock cannot hold")
        else:
            pins.append(item)
    return pins, notes


def _inputs(
    workplace: Workplace, decision: Decision, conda: Iterable[str]
) -> tuple[LockInputs, list[tuple[str, str]]]:
    """Inputs of a solve; what contradicts torch and its CUDA is left out, with the reason."""
    left, refused = list(conda), list[tuple[str, str]]()
    while True:
        asked = replace(decision.request, packages=tuple(left))
        try:
            return preparing.fresh(workplace, replace(decision, request=asked)), refused
        except InvalidValue as error:
            if error.value not in left:
                raise
            left.remove(error.value)
            refused.append((error.value, error.reason))


def _document(
    composed: EnvironmentDocument,
    name: str,
    pins: Sequence[Dependency],
    environment: ImportedEnvironment,
    *,
    python: str | None,
) -> EnvironmentDocument:
    """What was composed, with the wheels, the variables, and the notes of what was asked."""
    wished = {(item.manager, item.name): item for item in pins}
    lines = [_line(item, wished, python) for item in composed.spec.dependencies]
    present = {(item.manager, item.name) for item in lines}
    lines += [item for key, item in wished.items() if key not in present]
    if any(item.manager == "pip" for item in lines) and ("conda", "pip") not in {
        (item.manager, item.name) for item in lines
    }:
        lines.append(Dependency(name="pip"))
    spec = replace(composed.spec, dependencies=tuple(lines), variables=dict(environment.variables))
    text = environment_yml.write(spec, preparing.HEADER.format(name=name))
    return environment_yml.read(text, ENVIRONMENT_YML)


def _line(item: Dependency, wished: Mapping[Any, Dependency], python: str | None) -> Dependency:
    if item.name == "python" and python and python.count(".") > 1:
        return replace(item, version=f"={python}")
    wish = wished.get((item.manager, item.name))
    return replace(item, comment=wish.comment) if wish and wish.comment else item
