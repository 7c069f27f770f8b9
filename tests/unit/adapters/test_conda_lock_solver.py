"""conda-lock behind the port of solvers, with the engine's answers given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from fakes.conda_solver import package

from envforge.adapters.conda_lock_engine import CondaLockEngine
from envforge.adapters.conda_lock_solver import CondaLockSolver
from envforge.errors import ToolMissing, Unsolvable
from envforge.model.lock import LockedPackage
from envforge.model.machine import Platform
from envforge.model.solving import Channel, CondaConflict, CondaProblem, CondaSolution
from envforge.model.spec import Constraint, Dependency, EnvironmentSpec, VirtualPackage

FORGE = Channel(name="conda-forge", url="https://conda.anaconda.org/conda-forge")
MKL = Constraint(package="mkl", range="<2024.1", reason="undefined symbol", source="o/r#1")
GLIBC = VirtualPackage(name="__glibc", version="2.28")


@dataclass
class Engine:
    """Answers in turn, and keeps what it was asked."""

    answers: Sequence[tuple[LockedPackage, ...] | Exception]
    asked: list[tuple[EnvironmentSpec, Mapping[Platform, Any], Sequence[Channel]]] = field(
        default_factory=list
    )

    def lock(
        self,
        spec: EnvironmentSpec,
        virtual_packages: Mapping[Platform, tuple[VirtualPackage, ...]],
        channels: Sequence[Channel],
    ) -> tuple[LockedPackage, ...]:
        answer = self.answers[len(self.asked)]
        self.asked.append((spec, virtual_packages, channels))
        if isinstance(answer, Exception):
            raise answer
        return answer


def problem(platform: Platform = "linux-64", *constraints: Constraint) -> CondaProblem:
    return CondaProblem(
        platform=platform,
        channels=(FORGE,),
        dependencies=(Dependency(name="numpy", version=">=1.26"),),
        constraints=constraints,
        virtual_packages=(GLIBC,),
    )


def solve(engine: Engine, *problems: CondaProblem) -> tuple[CondaSolution | CondaConflict, ...]:
    return CondaLockSolver(cast("CondaLockEngine", engine)).solve(problems)


def test_all_platforms_in_one_run() -> None:
    linux, windows = package("numpy", "2.0"), package("numpy", "2.0", platform="win-64")
    engine = Engine([(linux, windows)])
    answers = solve(engine, problem("linux-64"), problem("win-64"))
    [(spec, virtual, channels)] = engine.asked

    assert answers == (
        CondaSolution(platform="linux-64", packages=(linux,)),
        CondaSolution(platform="win-64", packages=(windows,)),
    )
    assert spec.platforms == ("linux-64", "win-64")
    assert spec.channels == ("conda-forge",)
    assert spec.dependencies == problem().dependencies
    assert virtual == {"linux-64": (GLIBC,), "win-64": (GLIBC,)}
    assert channels == (FORGE,)


def test_a_constraint_that_is_kept_anyway_is_not_asked_for() -> None:
    """conda knows no constraints, and a dependency would bring the package in."""
    engine = Engine([(package("mkl", "2023.2"),)])
    solve(engine, problem("linux-64", MKL))
    absent = Engine([(package("numpy", "2.0"),)])
    solve(absent, problem("linux-64", MKL))

    assert len(engine.asked) == len(absent.asked) == 1


def test_a_constraint_that_is_broken_becomes_a_dependency() -> None:
    """Versions are compared as conda does: 2024.2 is above 2024.1."""
    kept = package("mkl", "2023.2")
    engine = Engine([(package("mkl", "2024.2"),), (kept,)])
    [answer] = solve(engine, problem("linux-64", MKL))

    assert answer == CondaSolution(platform="linux-64", packages=(kept,))
    assert engine.asked[1][0].dependencies == (
        *problem().dependencies,
        Dependency(name="mkl", version="<2024.1"),
    )


def test_no_solution_is_an_answer_for_every_platform() -> None:
    engine = Engine([Unsolvable(platform="win-64", explanation="numpy does not fit")])
    answers = solve(engine, problem("linux-64"), problem("win-64"))

    assert answers == tuple(
        CondaConflict(platform=platform, explanation="numpy does not fit")
        for platform in ("linux-64", "win-64")
    )


def test_a_constraint_that_cannot_be_kept_is_a_conflict() -> None:
    engine = Engine(
        [(package("mkl", "2024.2"),), Unsolvable(platform="linux-64", explanation="no mkl")]
    )
    [answer] = solve(engine, problem("linux-64", MKL))

    assert isinstance(answer, CondaConflict)


def test_what_else_goes_wrong_is_not_hidden() -> None:
    missing = ToolMissing(tool="conda-lock", needed_for="x", remedy="y")
    with pytest.raises(ToolMissing):
        solve(Engine([missing]), problem())
