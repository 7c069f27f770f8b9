"""What runs on a machine: a build's CUDA against the driver, its code against every GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from envforge.errors import DriverTooOld, NoKernelsForGpu
from envforge.matrix import drivers, gpus
from envforge.matrix.existing import Cell, cells
from envforge.matrix.tables import Matrix, Toolkit
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Driver, Gpu, Machine

State = Literal["native", "minor-version", "unknown", "driver-too-old", "no-kernels", "no-gpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a build runs on a machine, and why not."""

    state: State
    """`unknown`: the driver runs it, but nobody recorded which GPUs it has code for."""
    reason: str = ""
    gpu: Gpu | None = None
    """The GPU that decided it."""

    @property
    def runs(self) -> bool:
        """Nothing we know speaks against it."""
        return self.state in {"native", "minor-version", "unknown"}


class Built(Protocol):
    """What is judged: a `Choice`, or the `Target` of a lock."""

    @property
    def torch(self) -> str: ...
    @property
    def cuda(self) -> CudaVersion | None: ...
    @property
    def architectures(self) -> tuple[str, ...]: ...


def has_gpu(machine: Machine | None) -> bool:
    """Whether there is anything to judge CUDA by; GPUs may be described without a driver."""
    return machine is not None and bool(machine.driver or machine.gpus)


def verdict(
    cuda: CudaVersion | None,
    architectures: Sequence[str],
    machine: Machine,
    matrix: Matrix,
    platform: str = "linux-64",
) -> Verdict:
    """Judge a build by its CUDA and its architectures (empty: unknown).

    Raises:
        InvalidValue: the driver's version cannot be read.
    """
    if cuda is None:
        return Verdict(state="native")
    if not has_gpu(machine):
        return Verdict(state="no-gpu", reason="there is no NVIDIA driver here")
    driver_state = _driver_verdict(cuda, machine.driver, matrix, platform)
    if not driver_state.runs:
        return driver_state
    worst = driver_state
    for gpu in machine.gpus:
        found = _gpu_verdict(
            gpu, cuda, architectures, driver=machine.driver, matrix=matrix, platform=platform
        )
        if not found.runs:
            return found
        worst = found if found.state == "unknown" else worst
    return worst


def judge_machine(
    built: Built,
    machine: Machine | None,
    *,
    matrix: Matrix,
    platform: str = "linux-64",
    nearest: tuple[str, ...] = (),
) -> Verdict | None:
    """Refuse what cannot run here; None where there is no GPU to judge by.

    Raises:
        DriverTooOld: the driver does not run the CUDA, not even by minor-version compatibility.
        NoKernelsForGpu: a GPU has no code in the build.
    """
    if machine is None or built.cuda is None or not has_gpu(machine):
        return None
    found = verdict(built.cuda, built.architectures, machine, matrix, platform)
    if found.state == "driver-too-old" and machine.driver:
        package = drivers.compat_package(built.cuda, machine, matrix, platform)
        raise DriverTooOld(
            driver=machine.driver.version or "of unknown version",
            cuda=str(built.cuda),
            minimum=drivers.min_driver(built.cuda, platform, matrix) or "a newer one",
            nearest=nearest,
            package=package.name if package else None,
        )
    if found.state == "no-kernels" and found.gpu:
        raise NoKernelsForGpu(
            gpu=found.gpu.name,
            capability=str(found.gpu.capability),
            build=f"torch {built.torch} for CUDA {built.cuda}",
            architectures=built.architectures or ("unknown architectures",),
            reason=found.reason,
            nearest=nearest,
        )
    return found


def runs_here(
    machine: Machine, matrix: Matrix, platform: str = "linux-64"
) -> Iterator[tuple[Cell, Verdict]]:
    """Every CUDA build that runs on a machine, newest torch first, then newest CUDA."""
    for release in reversed(matrix.releases):
        for cuda in reversed(matrix.cudas):
            for cell in cells(release.torch, cuda, matrix, platforms=(platform,)):
                found = verdict(cuda, cell.primary.architectures, machine, matrix, platform)
                if found.runs:
                    yield cell, found


def _driver_verdict(
    cuda: CudaVersion, driver: Driver | None, matrix: Matrix, platform: str
) -> Verdict:
    if driver is None:
        return Verdict(state="native")
    support = drivers.support(driver, cuda, matrix, platform)
    if support == "none":
        minimum = drivers.min_driver(cuda, platform, matrix) or "a newer one"
        return Verdict(
            state="driver-too-old",
            reason=f"{driver.label} is too old, {minimum} is needed",
        )
    reason = f"{driver.label} and CUDA {cuda} are newer than our tables"
    return Verdict(state=support, reason=reason if support == "unknown" else "")


def _gpu_verdict(
    gpu: Gpu,
    cuda: CudaVersion,
    architectures: Sequence[str],
    *,
    driver: Driver | None,
    matrix: Matrix,
    platform: str,
) -> Verdict:
    toolkit = matrix.toolkit(cuda)
    if not architectures:
        return _by_toolkit(gpu, cuda, toolkit)
    code = gpus.kernels(gpu.capability, architectures, matrix)
    if code == "sass":
        return Verdict(state="native", gpu=gpu)
    if code == "none":
        return _none(gpu)
    return _by_ptx(gpu, cuda, driver, matrix, platform)


def _none(gpu: Gpu, reason: str = "") -> Verdict:
    return Verdict(state="no-kernels", reason=reason, gpu=gpu)


def _by_toolkit(gpu: Gpu, cuda: CudaVersion, toolkit: Toolkit | None) -> Verdict:
    """Nobody recorded the build's architectures; its compiler's bounds still exclude some GPUs."""
    if toolkit and toolkit.arch_min and gpu.capability < toolkit.arch_min:
        return _none(gpu, f"CUDA {cuda} dropped GPUs below {toolkit.arch_min}")
    if toolkit and toolkit.arch_max and gpu.capability.major > toolkit.arch_max.major:
        return _none(gpu, f"CUDA {cuda} is older than this GPU")
    return Verdict(
        state="unknown", gpu=gpu, reason="the architectures of this build are not recorded"
    )


def _by_ptx(
    gpu: Gpu, cuda: CudaVersion, driver: Driver | None, matrix: Matrix, platform: str
) -> Verdict:
    """PTX helps only where everything else in the build can follow.

    NVIDIA promises that PTX starts on any later GPU. A torch build also brings cuBLAS, cuDNN and
    NCCL of its CUDA as machine code; a toolkit from before the GPU has none for it, so torch
    starts and fails at the first matmul. And minor-version compatibility excludes PTX.
    """
    architecture = matrix.architecture(gpu.capability)
    if architecture is None and cuda.major >= matrix.toolkits[-1].cuda.major:
        return Verdict(state="unknown", gpu=gpu, reason="this GPU is newer than our tables")
    if architecture is None or (architecture.first_toolkit and architecture.first_toolkit > cuda):
        return _none(gpu, f"its PTX does not help, because CUDA {cuda} is older than this GPU")
    if driver and drivers.support(driver, cuda, matrix, platform) == "minor-version":
        own = drivers.own_driver(cuda, platform, matrix)
        return _none(gpu, f"its PTX needs the driver of CUDA {cuda} itself, {own} or newer")
    return Verdict(state="native", gpu=gpu)
