"""The conda part of a lock: every platform solved, direct dependencies in one version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from envforge.errors import Unsolvable
from envforge.formats.conda.environment_yml import EnvironmentDocument
from envforge.model.lock import LockedPackage
from envforge.model.solving import CondaConflict, CondaProblem, CondaSolution
from envforge.model.wording import listed
from envforge.ports import CondaSolver
from envforge.solve import agree, explain

_SHOWN: Final = 6


def solve_platforms(
    document: EnvironmentDocument, questions: tuple[CondaProblem, ...], solver: CondaSolver
) -> tuple[tuple[LockedPackage, ...], tuple[str, ...]]:
    """All platforms, their direct dependencies in the same versions where that can be had."""
    answers = solver.solve(questions)
    packages = _answers(answers, questions)
    names = [item.name for item in document.spec.conda()]
    undated = tuple(_undated(answers))
    split = agree.differing(names, packages, "conda")
    if not split:
        return packages, undated
    lowest = {name: versions[0] for name, versions in split.items()}
    together = _pinned(questions, lowest, packages, solver)
    if together is not None:
        return together, undated
    for name, version in lowest.items():  # one of them is in the way: keep what does agree
        one = _pinned(questions, {name: version}, packages, solver)
        if one is not None:
            packages, questions = one, _with_pins(questions, {name: version}, one)
    rest = agree.differing(names, packages, "conda")
    return packages, (*undated, *(_said(name, packages) for name in rest))


def _pinned(
    questions: tuple[CondaProblem, ...],
    pins: Mapping[str, str],
    preferred: Sequence[LockedPackage],
    solver: CondaSolver,
) -> tuple[LockedPackage, ...] | None:
    answers = solver.solve(_with_pins(questions, pins, preferred))
    solutions = [item for item in answers if isinstance(item, CondaSolution)]
    if len(solutions) < len(answers):
        return None
    return tuple(package for item in solutions for package in item.packages)


def _with_pins(
    questions: tuple[CondaProblem, ...],
    pins: Mapping[str, str],
    preferred: Sequence[LockedPackage],
) -> tuple[CondaProblem, ...]:
    return tuple(
        replace(
            question,
            dependencies=tuple(
                replace(item, version=f"=={pins[item.name]}") if item.name in pins else item
                for item in question.dependencies
            ),
            preferred=tuple(
                item
                for item in preferred
                if item.platform == question.platform and item.name not in pins
            ),
        )
        for question in questions
    )


def _answers(
    answers: Sequence[CondaSolution | CondaConflict], questions: Sequence[CondaProblem]
) -> tuple[LockedPackage, ...]:
    packages: list[LockedPackage] = []
    for answer, question in zip(answers, questions, strict=True):
        if isinstance(answer, CondaConflict):
            raise Unsolvable(
                platform=answer.platform,
                explanation=explain.shortened(answer, question),
                spellings=answer.unknown,
            )
        packages += answer.packages
    return tuple(packages)


def _undated(answers: Sequence[CondaSolution | CondaConflict]) -> Iterator[str]:
    """That something may be newer than was asked for, since nobody knows."""
    names = {name for item in answers if isinstance(item, CondaSolution) for name in item.undated}
    if names:
        yield (
            f"{listed(sorted(names), _SHOWN, quote='`')}: the channel does not say when this was"
            " published, and nothing that is dated fits"
        )


def _said(name: str, packages: Sequence[LockedPackage]) -> str:
    versions = ", ".join(
        f"{item.version} on {item.platform}" for item in packages if item.name == name
    )
    return f"`{name}` keeps its range in environment.yml: {versions}, and no version fits all"
