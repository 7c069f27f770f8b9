"""Known-bad ranges stand in environment.yml where they held something back."""

from __future__ import annotations

from dataclasses import replace

from fakes.conda_solver import package

from envforge.formats.conda import environment_yml
from envforge.model.spec import Constraint, Dependency, EnvironmentSpec
from envforge.solve.visible import constrained_dependencies, wheel_constraints

MKL = Constraint(package="mkl", range="<2024.1", reason="x; y [z]", source="o/r#1")
NUMPY = Constraint(package="numpy", range="<2", reason="built for 1", source="")
SPEC = EnvironmentSpec(
    name="n", channels=(), dependencies=(Dependency(name="python"),), platforms=("linux-64",)
)


def test_the_range_can_be_read_back() -> None:
    """As `asked:`, so that `update` keeps to it; the reason cannot end the comment early."""
    [mkl] = constrained_dependencies(SPEC, (MKL, NUMPY), [package("mkl", "2023.2.0")])
    assert mkl == Dependency(
        name="mkl", version="=2023.2.0", comment="asked: <2024.1; x, y (z) (o/r#1)"
    )
    text = environment_yml.write(replace(SPEC, dependencies=(mkl,)))
    [again] = environment_yml.read(text, "e").spec.dependencies
    assert environment_yml.asked_range(again) == "<2024.1"


def test_a_wheel_is_shown_as_a_wheel() -> None:
    numpy = replace(package("numpy", "1.26.4"), manager="pip")
    [shown] = constrained_dependencies(SPEC, (NUMPY,), [numpy])
    assert (shown.manager, shown.version, shown.comment) == (
        "pip",
        "==1.26.4",
        "asked: <2; built for 1",
    )


def test_what_is_direct_already_or_not_on_every_platform_is_left() -> None:
    """environment.yml is one list for all platforms."""
    direct = replace(SPEC, dependencies=(Dependency(name="mkl"),))
    both = replace(SPEC, platforms=("linux-64", "linux-aarch64"))
    mkl = package("mkl", "2023.2.0")
    assert not list(constrained_dependencies(direct, (MKL,), [mkl]))
    assert not list(constrained_dependencies(both, (MKL,), [mkl]))
    other = package("mkl", "2023.1.0", platform="linux-aarch64")
    assert not list(constrained_dependencies(both, (MKL,), [mkl, other]))


def test_constraints_for_wheels() -> None:
    """In the registry's names and PEP 440; what no wheel has is left out."""
    library = Constraint(package="openssl", range="<3", reason="", source="")
    choice = Constraint(package="numpy", range="1.2|1.3", reason="", source="")
    torch = Constraint(package="pytables", range="=3.9", reason="", source="")
    assert wheel_constraints((NUMPY, library, choice, torch)) == ("numpy<2", "tables==3.9.*")
