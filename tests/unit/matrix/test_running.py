"""What runs on a machine: builds of the tables on real GPUs and drivers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from envforge.errors import DriverTooOld, NoKernelsForGpu
from envforge.matrix import Matrix, judge_machine, runs_here, verdict
from envforge.matrix.existing import cells
from envforge.model.choice import Choice
from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.lock import Target
from envforge.model.machine import Driver, Gpu, Machine
from envforge.model.spec import Source

Describe = Callable[..., Machine]
NEW = "620.10.01"


def _state(matrix: Matrix, machine: Machine, torch: str, cuda: str, source: Source) -> str:
    found = cells(
        torch, CudaVersion.parse(cuda), matrix, platforms=("linux-64",), sources=(source,)
    )
    [cell] = found
    return verdict(cell.cuda, cell.primary.architectures, machine, matrix).state


@pytest.mark.parametrize(
    ("gpu", "torch", "cuda", "source", "expected"),
    [
        # known-bad pairs of the table, told here by the architectures alone
        ("V100", "2.7.1", "12.8", "wheels", "no-kernels"),
        ("V100", "2.8.0", "12.8", "wheels", "native"),
        ("V100", "2.11.0", "12.8", "wheels", "no-kernels"),
        ("V100", "2.11.0", "13.0", "wheels", "no-kernels"),
        ("V100", "2.11.0", "12.6", "wheels", "native"),
        ("T4", "2.11.0", "13.0", "wheels", "native"),
        ("P100", "2.9.1", "12.8", "wheels", "no-kernels"),
        ("P100", "2.9.1", "12.6", "wheels", "native"),
        ("GTX 1080", "2.9.1", "13.0", "wheels", "no-kernels"),
        ("GTX 1080", "2.9.1", "12.9", "conda-forge", "native"),
        ("B200", "2.6.0", "12.4", "wheels", "no-kernels"),
        ("B200", "2.7.0", "12.6", "wheels", "no-kernels"),
        ("B200", "2.7.0", "12.8", "wheels", "native"),
        ("RTX 5090", "2.7.0", "11.8", "wheels", "no-kernels"),
        ("RTX 5090", "2.7.0", "12.8", "wheels", "native"),
        ("GB10", "2.10.0", "13.0", "wheels", "native"),
        ("H200", "2.0.1", "11.8", "pytorch", "native"),
        ("H200", "2.0.1", "11.7", "pytorch", "no-kernels"),
        ("H200", "1.13.1", "11.7", "pytorch", "no-kernels"),
        ("L40S", "2.0.1", "11.7", "pytorch", "native"),
        ("K80", "2.0.1", "11.7", "wheels", "native"),
        ("K80", "2.1.0", "12.1", "wheels", "no-kernels"),
        # nobody recorded the architectures; the toolkit's own bounds still exclude
        ("H200", "2.15.0", "13.2", "wheels", "unknown"),
        ("V100", "2.15.0", "13.2", "wheels", "no-kernels"),
        ("B200", "2.6.0", "11.8", "wheels", "no-kernels"),
        ("H200", "2.6.0", "11.8", "wheels", "unknown"),
    ],
)
def test_gpus(  # noqa: PLR0917 - one column each
    gpu: str,
    torch: str,
    cuda: str,
    source: Source,
    expected: str,
    matrix: Matrix,
    machine: Describe,
) -> None:
    assert _state(matrix, machine(NEW, gpu), torch, cuda, source) == expected


def test_ptx_needs_a_toolkit_that_knows_the_gpu(matrix: Matrix, machine: Describe) -> None:
    """By the rule of code alone 3.7+PTX would start on an H200; its cuBLAS of CUDA 11.7 cannot."""
    found = verdict(
        CudaVersion(11, 7), ("3.7+PTX", "8.6"), machine(NEW, "H200"), matrix, "linux-64"
    )
    assert found.state == "no-kernels"
    assert "CUDA 11.7 is older than this GPU" in found.reason


def test_ptx_needs_the_toolkits_own_driver(matrix: Matrix, machine: Describe) -> None:
    """conda-forge's 2.0.0 for CUDA 11.8 has 8.9+PTX: an H100 runs it, but not by compatibility."""
    build = (CudaVersion(11, 8), ("8.6", "8.9+PTX"))
    assert verdict(*build, machine("520.61.05", "H100"), matrix).state == "native"
    without_gpu = machine("515.43.04")  # no described machine: that driver is older than the GPU
    old = verdict(*build, replace(without_gpu, gpus=machine(None, "H100").gpus), matrix)
    assert old.state == "no-kernels"
    assert "520.61.05" in old.reason
    assert verdict(*build, machine(None, "H100"), matrix).state == "native"


def test_every_gpu_counts(matrix: Matrix, machine: Describe) -> None:
    mixed = machine(NEW, "H100", "V100")
    found = verdict(CudaVersion(13, 0), ("7.5", "8.0", "9.0"), mixed, matrix)
    assert found.state == "no-kernels"
    assert found.gpu is not None
    assert found.gpu.name == "Tesla V100"


def test_a_cpu_build_runs_everywhere(matrix: Matrix, machine: Describe) -> None:
    assert verdict(None, (), machine("300.10", "K80"), matrix).runs
    assert verdict(None, (), Machine(), matrix).runs


def test_a_cuda_build_without_a_driver(matrix: Matrix) -> None:
    found = verdict(CudaVersion(11, 8), ("8.0",), Machine(), matrix)
    assert found.state == "no-gpu"
    assert not found.runs


def _target(cuda: CudaVersion | None, *architectures: str) -> Target:
    return Target(
        torch="2.0.1",
        cuda=cuda,
        cudnn=None,
        python="3.10",
        source="pytorch",
        architectures=architectures,
    )


def test_judge_a_target_of_a_lock(matrix: Matrix, machine: Describe) -> None:
    target = _target(CudaVersion(12, 4), "8.0", "9.0")
    fine = judge_machine(target, machine("535.104.05", "A100"), matrix=matrix)
    assert fine is not None
    assert fine.state == "minor-version"

    with pytest.raises(DriverTooOld) as old:
        judge_machine(target, machine("470.82.01", "A100"), matrix=matrix, nearest=("x",))
    assert old.value.minimum == "525.60.13"
    assert old.value.exit_code == 3
    assert old.value.nearest == ("x",)
    assert old.value.package is None  # R470 is out of support

    newer = _target(CudaVersion(13, 0), "8.0")
    with pytest.raises(DriverTooOld) as old:
        judge_machine(newer, machine("535.104.05", "A100"), matrix=matrix)
    assert old.value.package == "cuda-compat-13-0"

    with pytest.raises(NoKernelsForGpu) as none:
        judge_machine(target, machine(NEW, "V100"), matrix=matrix)
    assert none.value.capability == "7.0"
    assert none.value.architectures == ("8.0", "9.0")


def test_judge_says_nothing_where_there_is_nothing_to_judge_by(
    matrix: Matrix, machine: Describe
) -> None:
    target = _target(CudaVersion(12, 4), "8.0")
    assert judge_machine(target, None, matrix=matrix) is None
    assert judge_machine(target, Machine(), matrix=matrix) is None
    assert judge_machine(_target(None), machine("300.10", "K80"), matrix=matrix) is None


def test_judge_a_build_nobody_recorded(matrix: Matrix, machine: Describe) -> None:
    choice = Choice(torch="2.15.0", cuda=CudaVersion(13, 2), python="3.14", source="wheels")
    with pytest.raises(NoKernelsForGpu) as caught:
        judge_machine(choice, machine(NEW, "V100"), matrix=matrix)
    assert "CUDA 13.2 dropped GPUs below 7.5" in str(caught.value)


def test_runs_here(matrix: Matrix, machine: Describe) -> None:
    found = list(runs_here(machine("535.104.05", "H200"), matrix))
    first, state = found[0]
    assert (first.torch, str(first.cuda)) == ("2.14.1", "12.6")
    assert state.state == "minor-version"
    assert all(cell.cuda and cell.cuda.major < 13 for cell, _ in found)
    assert not list(runs_here(machine("300.10"), matrix))


def test_a_cuda_that_the_tables_do_not_know(matrix: Matrix) -> None:
    machine = Machine(driver=Driver(version="999.10"))
    found = verdict(CudaVersion(14, 0), ("9.0",), machine, matrix)
    assert found.state == "unknown"
    assert "newer than our tables" in found.reason
    known = Machine(driver=Driver(version="580.65.06"))
    with pytest.raises(DriverTooOld, match="a newer one"):
        judge_machine(_target(CudaVersion(14, 0), "9.0"), known, matrix=matrix)


def test_a_gpu_that_the_tables_do_not_know(matrix: Matrix) -> None:
    """The newest CUDA's PTX may start on it; an old one's libraries cannot know it."""
    future = Machine(gpus=(Gpu(name="NVIDIA X100", capability=ComputeCapability(14, 0)),))
    assert verdict(CudaVersion(13, 2), ("9.0", "12.0+PTX"), future, matrix).state == "unknown"
    assert verdict(CudaVersion(12, 8), ("9.0", "12.0+PTX"), future, matrix).state == "no-kernels"
    assert verdict(CudaVersion(13, 2), ("9.0", "12.0"), future, matrix).state == "no-kernels"
