"""Does the driver run this CUDA, and has the build code for the GPUs that are here?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from envforge.matrix import drivers, gpus, reading
from envforge.model.cuda import ComputeCapability
from envforge.model.finding import Finding
from envforge.model.machine import Driver, Gpu, Machine
from envforge.verify import remedies
from envforge.verify.architectures import of_build
from envforge.verify.check import CannotLook, check
from envforge.verify.checks.machine import NO_DRIVER, NO_GPU, cuda_of, driver_name, host_of
from envforge.verify.facts import Subject


@check(
    level="static",
    needs=("host",),
    symptom="RuntimeError: The NVIDIA driver on your system is too old (found version 12040)",
    why="no CUDA call works; torch falls to the CPU, or stops",
    source="CUDA Compatibility guide, minor-version compatibility; lllyasviel/Fooocus#1313",
)
def driver_too_old(subject: Subject) -> Iterator[Finding]:
    """The driver is new enough for the CUDA that torch was compiled with."""
    cuda = cuda_of(subject)
    machine = _machine(subject)
    driver = machine.driver
    if driver is None:
        raise CannotLook(NO_DRIVER)
    matrix = reading.load()
    if drivers.support(driver, cuda, matrix, subject.platform) != "none":
        return
    minimum = drivers.min_driver(cuda, subject.platform, matrix)
    newest = drivers.newest_cuda(driver, matrix, subject.platform, native=False)
    command = remedies.create_for_machine(subject, machine, matrix)
    update = f"update the driver to {minimum}" if minimum else "update the driver"
    name = driver_name(host_of(subject))
    yield Finding(
        message=f"driver {name} is too old for CUDA {cuda}",
        seen=f"driver {name}, which runs CUDA up to {newest or 'none that we know'}",
        expected=f"driver {minimum or 'of the toolkit'} or newer, for CUDA {cuda}",
        remedy=f"{command}, or {update}" if command else update,
    )


@check(
    level="static",
    needs=("host",),
    symptom="CUDA error: the provided PTX was compiled with an unsupported toolchain (222)",
    why="what is compiled when a program starts needs a driver as new as the toolkit",
    source="CUDA Compatibility guide, minor-version compatibility; NVlabs/PWC-Net#138",
)
def driver_minor_too_old_for_ptx(subject: Subject) -> Iterator[Finding]:
    """The driver can compile the build's PTX for GPUs that have no machine code in it."""
    cuda = cuda_of(subject)
    machine = _machine(subject)
    if machine.driver is None:
        raise CannotLook(NO_DRIVER)
    matrix = reading.load()
    if drivers.support(machine.driver, cuda, matrix, subject.platform) != "minor-version":
        return
    for gpu in _needing(machine, "ptx", subject):
        own = drivers.own_driver(cuda, subject.platform, matrix)
        yield Finding(
            message=f"{gpus.describe(gpu)} needs this build's PTX,"
            f" and driver {machine.driver.version} cannot compile it",
            seen=f"driver {machine.driver.version}; code for {' '.join(_architectures(subject))}",
            expected=f"driver {own or 'of the toolkit itself'} or newer, for PTX of CUDA {cuda}",
            remedy=_other_build(subject, f"update the driver to {own or 'that of the toolkit'}"),
        )


@check(
    level="static",
    needs=("host",),
    symptom="CUDA error: no kernel image is available for execution on the device",
    why="is_available() is True, and the first kernel fails",
    source="NVIDIA Blackwell Compatibility Guide; pytorch/pytorch#150733",
)
def arch_too_new(subject: Subject) -> Iterator[Finding]:
    """The build has code for GPUs as new as these."""
    for gpu in _without_kernels(subject):
        if gpu.capability >= max(_built_for(subject)):
            yield _no_kernels(subject, gpu, "newer than everything it is built for")


@check(
    level="static",
    needs=("host",),
    symptom="PyTorch no longer supports this GPU because it is too old; no kernel image",
    why="is_available() is True, and the first kernel fails",
    source="vllm-project/vllm#19185, pytorch/pytorch#157517",
)
def arch_too_old(subject: Subject) -> Iterator[Finding]:
    """The build has code for GPUs as old as these."""
    for gpu in _without_kernels(subject):
        if gpu.capability < max(_built_for(subject)):
            yield _no_kernels(subject, gpu, "which this build leaves out")


def _no_kernels(subject: Subject, gpu: Gpu, relation: str) -> Finding:
    built = " ".join(_architectures(subject))
    return Finding(
        message=f"this build has no kernels for {gpus.describe(gpu)}, {relation}",
        seen=f"code for {built}",
        expected=f"code for {gpu.capability}",
        remedy=_other_build(subject, "no published build runs on all GPUs here: hide this one"),
    )


def _other_build(subject: Subject, otherwise: str) -> str:
    command = remedies.create_for_machine(subject, _machine(subject), reading.load())
    return command or otherwise


def _without_kernels(subject: Subject) -> list[Gpu]:
    cuda_of(subject)
    machine = _machine(subject)
    if not machine.gpus:
        raise CannotLook(NO_GPU if machine.driver else NO_DRIVER)
    return _needing(machine, "none", subject)


def _needing(machine: Machine, code: gpus.Code, subject: Subject) -> list[Gpu]:
    """The GPUs, each model once, that the build serves in this way."""
    built, matrix = _architectures(subject), reading.load()
    models = {(gpu.name, gpu.capability): gpu for gpu in machine.gpus}
    return [gpu for gpu in models.values() if gpus.kernels(gpu.capability, built, matrix) == code]


def _architectures(subject: Subject) -> tuple[str, ...]:
    built = of_build(subject)
    if not built:
        raise CannotLook("nobody recorded the GPU architectures of this build")
    return built


def _built_for(subject: Subject) -> list[ComputeCapability]:
    """The compute capabilities of the build, at least one."""
    return [ComputeCapability.parse(item.removesuffix("+PTX")) for item in _architectures(subject)]


def _machine(subject: Subject) -> Machine:
    """The machine for the matrix. Where a driver named its CUDA, its version does not count."""
    machine = host_of(subject).machine
    if machine.driver is None or machine.driver.version:
        return machine
    return replace(machine, driver=Driver(version="00", cuda=machine.driver.cuda))
