"""What an update changes in environment.yml, and what it is to leave alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from envforge.errors import InvalidValue
from envforge.formats.conda import conda_spec, environment_text
from envforge.formats.conda.environment_yml import EnvironmentDocument
from envforge.formats.text import yaml_text
from envforge.model.difference import Move
from envforge.model.lock import Lock, LockedPackage
from envforge.model.spec import TORCH_NAMES, Dependency, EnvironmentSpec

CLAIM: Final = frozenset(
    {
        *TORCH_NAMES,
        *("pytorch-cuda", "pytorch-gpu", "pytorch-cpu", "cudatoolkit", "cuda-version", "cpuonly"),
    }
)
"""Lines that make the environment's name true: torch, and what chooses its CUDA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePlan:
    """What was asked for, held against an environment."""

    document: EnvironmentDocument
    """environment.yml as it is to be solved: ranges instead of versions."""
    asked: frozenset[str]
    """Names of the packages that are to move; empty: all."""
    notes: tuple[str, ...] = ()


def plan(document: EnvironmentDocument, lock: Lock, packages: Sequence[str]) -> UpdatePlan:
    """Read what was typed, `numpy` or `numpy=1.26`, and change the lines that it is about.

    Direct dependencies get back the range that was asked for, so that what has to move with
    something else can. A package without a line of its own gets one if a range was given for it:
    there the range is kept for the next time.

    Raises:
        InvalidValue: it cannot be read, is not in the environment, or is part of its name.
    """
    loose = document.with_asked_ranges()
    asked, notes = set[str](), list[str]()
    for text in packages:
        wanted = conda_spec.parse(text)
        line = _line(loose.spec, wanted.name)
        if wanted.version or wanted.build:
            _refuse_claim(text, wanted.name, loose.spec.name)
            loose = loose.with_dependency(_changed(line, wanted, text, lock, loose))
            if line is None:
                notes.append(
                    f"`{wanted.name}` is a line of environment.yml now: that is where its range is"
                    " kept"
                )
        names = {wanted.name, line.name} if line else {wanted.name}
        found = names & {item.name for item in lock.packages}
        if line is None and not found:
            raise _not_there(text, wanted.name, lock, loose)
        asked |= found or names
    return UpdatePlan(document=loose, asked=frozenset(asked), notes=tuple(notes))


def _line(spec: EnvironmentSpec, name: str) -> Dependency | None:
    """The direct dependency that is meant: `torch` may be typed for `pytorch`, `A_b` for `a-b`."""
    names = (
        set(TORCH_NAMES) if name in TORCH_NAMES else {name, re.sub(r"[-_.]+", "-", name).lower()}
    )
    return next((item for item in spec.dependencies if item.name in names), None)


def _refuse_claim(text: str, name: str, environment: str) -> None:
    if name in CLAIM:
        option = "--torch" if name in TORCH_NAMES else "--cuda"
        raise InvalidValue(
            what="package",
            value=text,
            reason="is part of the environment's name",
            remedy=f"`envforge update {environment} {option} VERSION` makes a new one beside it",
        )


def _changed(
    line: Dependency | None,
    wanted: Dependency,
    text: str,
    lock: Lock,
    document: EnvironmentDocument,
) -> Dependency:
    """The line that is to stand in environment.yml.

    Raises:
        InvalidValue: a wheel cannot have such a range, or the package is not on all platforms.
    """
    if line is None:
        return _new_line(wanted, text, lock, document)
    _, note = environment_text.split_comment(line.comment)
    if line.manager == "conda":
        channel = wanted.channel or line.channel
        return replace(wanted, channel=channel, extras=line.extras, comment=note)
    if wanted.build or wanted.channel:
        raise InvalidValue(
            what="package",
            value=text,
            reason="asks for a conda build, and is a wheel in this environment",
            remedy=f"for example `{line.name}>={_digits(wanted.version)}`",
        )
    version = conda_spec.as_pip(wanted).version
    return replace(line, version=version, url=None, comment=note)


def _new_line(
    wanted: Dependency, text: str, lock: Lock, document: EnvironmentDocument
) -> Dependency:
    found = [item for item in lock.packages if item.name == wanted.name]
    if not found:
        raise _not_there(text, wanted.name, lock, document)
    missing = [name for name in lock.platforms if name not in {item.platform for item in found}]
    if missing:
        raise InvalidValue(
            what="package",
            value=text,
            reason=f"is not locked for {', '.join(missing)}, so that no line can ask for it",
            remedy=f"`envforge update {document.spec.name} {wanted.name}`: as new as fits",
        )
    if found[0].manager == "pip":
        version = conda_spec.as_pip(wanted).version
        return Dependency(name=wanted.name, version=version, manager="pip")
    return wanted


def _digits(version: str) -> str:
    found = re.search(r"\d[\w.]*", version)
    return found[0].rstrip(".") if found else "1"


def _not_there(text: str, name: str, lock: Lock, document: EnvironmentDocument) -> InvalidValue:
    known = sorted({item.name for item in lock.packages})
    return InvalidValue(
        what="package",
        value=text,
        reason=f"is neither asked for nor locked there{yaml_text.did_you_mean(name, known)}",
        remedy=f"`envforge add {document.spec.name} {name}` puts a new one in",
    )


# --- judging --------------------------------------------------------------------------------


def others(moves: Iterable[Move], asked: Collection[str]) -> tuple[str, ...]:
    """Names of the packages that moved, came or went without being asked for; sorted."""
    return tuple(sorted({move.name for move in moves} - set(asked)))


def stayed(plan: UpdatePlan, old: Lock, new: Lock, platforms: Iterable[str]) -> Iterator[str]:
    """A sentence for each package that was named and is as it was."""
    for name in sorted(plan.asked):
        before, after = (
            [found for each in platforms if (found := lock.find(name, each)) is not None]
            for lock in (old, new)
        )
        if before and _same(before, after):
            line = plan.document.spec.find(name)
            limit = f" `{line.version}` in environment.yml" if line and line.version else ""
            yield f"`{name}` stays at {before[0].version}: nothing newer fits{limit}"


def _same(before: Sequence[LockedPackage], after: Sequence[LockedPackage]) -> bool:
    return [(item.version, item.build) for item in before] == [
        (item.version, item.build) for item in after
    ]
