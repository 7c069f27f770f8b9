"""Known-bad pairs become constraints exactly where they hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from envforge.matrix import Matrix, constraints_for
from envforge.matrix.bad_pairs import concerns, is_avoided, matching
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Machine

LINUX = ("linux-64",)


@pytest.mark.parametrize(
    ("torch", "source", "python", "platforms", "expected"),
    [
        ("2.0.1", "pytorch", "3.10", LINUX, {"mkl<2024.1", "numpy<2", "setuptools<82"}),
        ("2.0.0", "conda-forge", "3.10", LINUX, {"numpy<2", "setuptools<82"}),
        ("2.5.1", "pytorch", "3.12", LINUX, {"mkl<2024.1", "setuptools<82"}),
        ("2.5.1", "pytorch", "3.12", ("osx-arm64",), {"setuptools<82"}),
        ("1.10.2", "conda-forge", "3.9", LINUX, {"numpy<2", "setuptools<59.6"}),
        ("1.10.2", "pytorch", "3.9", LINUX, {"mkl<2024.1", "numpy<2", "setuptools<82"}),
        ("2.4.0", "wheels", "3.11", ("win-64",), {"numpy<2", "setuptools<82"}),
        ("2.4.1", "wheels", "3.11", ("win-64",), {"setuptools<82"}),
        ("2.4.1", "wheels", "3.10", ("win-64",), {"numpy>=1.23", "setuptools<82"}),
        ("2.4.0", "wheels", "3.11", LINUX, {"setuptools<82"}),
        ("2.9.1", "conda-forge", "3.12", LINUX, set()),
    ],
)
def test_constraints(  # noqa: PLR0917 - one column each
    torch: str,
    source: str,
    python: str,
    platforms: tuple[str, ...],
    expected: set[str],
    matrix: Matrix,
) -> None:
    found = constraints_for(torch, None, source, python, platforms, matrix=matrix)  # type: ignore[arg-type]
    assert {item.package + item.range for item in found} == expected


def test_a_constraint_carries_its_source_and_reason(matrix: Matrix) -> None:
    found = constraints_for("2.0.1", None, "pytorch", None, LINUX, matrix=matrix)
    [mkl] = [item for item in found if item.package == "mkl"]
    assert mkl.source == "pytorch/pytorch#123097"
    assert "iJIT_NotifyEvent" in mkl.reason


def test_no_package_gets_two_upper_bounds(matrix: Matrix) -> None:
    for build in matrix.builds:
        for python in build.pythons:
            found = constraints_for(
                build.torch, build.cuda, build.source, python, (build.platform,), matrix=matrix
            )
            upper = [item.package for item in found if item.range.startswith("<")]
            assert len(upper) == len(set(upper)), build


def test_avoided(matrix: Matrix) -> None:
    cuda = CudaVersion(12, 6)
    assert is_avoided("2.6.0", cuda, "wheels", "3.12", LINUX, matrix=matrix)
    assert not is_avoided("2.6.0", cuda, "conda-forge", "3.12", LINUX, matrix=matrix)
    assert is_avoided("2.0.1", None, "pytorch", "3.11", LINUX, matrix=matrix)
    assert not is_avoided("2.1.0", None, "pytorch", "3.11", LINUX, matrix=matrix)


def test_conditions_on_gpus(matrix: Matrix, machine: Callable[..., Machine]) -> None:
    by_name = {pair.name: pair for pair in matrix.bad_pairs}
    old, new = machine(None, "V100").gpus, machine(None, "B200").gpus
    assert concerns(by_name["cf-cudnn-pre-turing"], old)
    assert not concerns(by_name["cf-cudnn-pre-turing"], new)
    assert concerns(by_name["blackwell-old"], new)
    assert not concerns(by_name["blackwell-old"], old)
    assert concerns(by_name["volta-211"], old)
    assert not concerns(by_name["volta-211"], new)
    assert concerns(by_name["mkl-2024.1"], ())


def test_recorded_kernel_gaps_agree_with_the_architectures(
    matrix: Matrix, machine: Callable[..., Machine]
) -> None:
    """What the table records in words, the rules find by themselves."""
    from envforge.matrix import verdict

    boards = {"volta-27-cu128": "V100", "volta-211": "V100", "pre-turing-cu13": "V100"}
    boards |= {"pascal-cu128": "P100", "blackwell-old": "B200"}
    checked = set()
    for build in matrix.builds:
        found = matching(
            build.torch, build.cuda, build.source, None, (build.platform,), matrix=matrix
        )
        for pair in found:
            if pair.name in boards and build.platform == "linux-64":
                state = verdict(
                    build.cuda, build.architectures, machine("620.10", boards[pair.name]), matrix
                ).state
                assert state in {"no-kernels", "unknown"}, (pair.name, build)
                checked.add(pair.name)
    assert checked == set(boards)
