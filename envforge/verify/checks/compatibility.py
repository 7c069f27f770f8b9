"""Does the driver run this CUDA, and has the build code for the GPUs that are here?

The rules, and the tables behind them, are those of `matrix.drivers` and `matrix.gpus`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from envforge.errors import InvalidValue
from envforge.matrix import drivers, gpus, reading
from envforge.matrix.gpus import Compiled
from envforge.matrix.tables import CompatPackage
from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.finding import Finding, Severity
from envforge.model.machine import Driver, Gpu, Machine
from envforge.verify import remedies
from envforge.verify.architectures import Built, built, extension_code, of_flags, package_of
from envforge.verify.check import CannotLook, check
from envforge.verify.checks import machine as machines
from envforge.verify.checks.machine import NO_DRIVER, NO_GPU, driver_name, host_of
from envforge.verify.facts import DeviceCode, Subject

_COMPAT_NOT_SUPPORTED = 804


@check(
    level="static",
    needs=("host",),
    symptom="RuntimeError: The NVIDIA driver on your system is too old (found version 12040)",
    why="no CUDA call works; torch falls to the CPU, or stops",
    source="CUDA Compatibility guide, minor-version compatibility; lllyasviel/Fooocus#1313",
    cause="The build's CUDA is of a newer major release than the driver can run. Within a major,"
    " any driver from the first one of that major on will do: 450.80.02 for CUDA 11, 525.60.13"
    " for CUDA 12, 580 for CUDA 13 (Linux).",
    fix="Update the driver to that version, take a build for a CUDA that the driver runs, or, on"
    " data-centre boards, put the forward-compatibility package `cuda-compat-X-Y` in front of it.",
)
def driver_too_old(subject: Subject) -> Iterator[Finding]:
    """The driver is new enough for the CUDA that torch was compiled with."""
    cuda, machine = cuda_of_build(subject), effective_machine(subject)
    driver = _driver(machine)
    if _support(driver, cuda, subject) != "none":
        return
    matrix, name = reading.load(), driver_name(host_of(subject))
    minimum = drivers.min_driver(cuda, subject.platform, matrix)
    newest = drivers.newest_cuda(driver, matrix, subject.platform, native=False)
    yield Finding(
        message=f"driver {name} is too old for CUDA {cuda}",
        seen=f"driver {name}, which runs CUDA up to {newest or 'none that we know'}",
        expected=f"driver {minimum or 'of the toolkit'} or newer, for CUDA {cuda}",
        remedy=", or ".join(_ways_out(subject, machine, cuda, minimum)),
    )


def _ways_out(
    subject: Subject, machine: Machine, cuda: CudaVersion, minimum: str | None
) -> Iterator[str]:
    """What would do: another build, a newer driver, and the package where it is promised."""
    matrix = reading.load()
    if command := remedies.create_for_machine(subject, machine, matrix):
        yield command
    yield f"update the driver to {minimum} or newer" if minimum else "update the driver"
    if package := drivers.compat_package(cuda, machine, matrix, subject.platform):
        yield _compat(package)


def _compat(package: CompatPackage) -> str:
    where = f"export LD_LIBRARY_PATH={package.folder}:$LD_LIBRARY_PATH"
    return f"install `{package.name}` (apt, dnf, zypper) and `{where}`"


@check(
    level="static",
    needs=("host",),
    after=("driver-too-old",),
    symptom="CUDA error: the provided PTX was compiled with an unsupported toolchain (222)",
    why="what is compiled when a program starts needs a driver as new as the toolkit",
    source="CUDA Compatibility guide, minor-version compatibility; NVlabs/PWC-Net#138",
    cause="The driver is of the build's CUDA major and of an older minor. Machine code runs"
    " nevertheless; PTX, which the driver has to compile for a GPU that has no machine code in"
    " the build, was written by a newer compiler than the driver's own.",
    fix="Update the driver to that of the toolkit, or take a build that has machine code for this"
    " GPU; on data-centre boards `cuda-compat-X-Y` brings the newer compiler.",
)
def driver_minor_too_old_for_ptx(subject: Subject) -> Iterator[Finding]:
    """The driver can compile the PTX of code that has nothing else for these GPUs."""
    # Triton and NVRTC write machine code for the GPUs that they know, so that their being newer
    # than the driver is no trouble as long as torch itself has machine code for the GPU.
    cuda, machine = cuda_of_build(subject), effective_machine(subject)
    driver, build = _driver(machine), built(subject)
    needed = _cuda_of(build.ptx) or cuda
    if _support(driver, needed, subject) == "minor-version":
        if not (machine.gpus and build.architectures):
            raise CannotLook(NO_GPU) if build.architectures else _nobody_knows()
        # nobody read which PTX it is where a library alone is the witness and does not tell
        sure = build.ptx is not None or not build.is_file
        severity: Severity = "error" if sure else "warning"
        for gpu in _serving(machine, "ptx", build.architectures):
            yield _ptx(
                subject, gpu, "this build's PTX", build.architectures, needed, severity=severity
            )
    for code in extension_code(subject):
        needed = _cuda_of(code.ptx) or cuda
        if code.ptx is None or _support(driver, needed, subject) != "minor-version":
            continue
        compiled = of_flags(code.architectures)
        for gpu in _serving(machine, "ptx", compiled):
            if gpu not in _serving(machine, "sass", _siblings(subject, code)):
                yield _ptx(subject, gpu, f"the PTX of {code.name}", compiled, needed)


def _siblings(subject: Subject, code: DeviceCode) -> tuple[str, ...]:
    """All that the extensions of one package hold: it chooses among them itself."""
    package = package_of(code)
    own = (item for item in extension_code(subject) if package_of(item) == package)
    return of_flags(flag for item in own for flag in item.architectures)


def _ptx(
    subject: Subject,
    gpu: Gpu,
    what: str,
    code: tuple[str, ...],
    cuda: CudaVersion,
    *,
    severity: Severity = "error",
) -> Finding:
    matrix, machine = reading.load(), effective_machine(subject)
    own = drivers.own_driver(cuda, subject.platform, matrix)
    update = f"update the driver to {own or 'that of the toolkit'}"
    package = drivers.compat_package(cuda, machine, matrix, subject.platform)
    return Finding(
        message=f"{gpus.describe(gpu)} needs {what},"
        f" and driver {driver_name(host_of(subject))} cannot compile it",
        seen=f"driver {driver_name(host_of(subject))}; code for {' '.join(code)}",
        expected=f"driver {own or 'of the toolkit itself'} or newer, for PTX of CUDA {cuda}",
        remedy=_other_build(subject, update) + (f", or {_compat(package)}" if package else ""),
        severity=severity,
    )


@check(
    level="static",
    needs=("host",),
    symptom="CUDA error: no kernel image is available for execution on the device",
    why="is_available() is True, and the first kernel fails",
    source="NVIDIA Blackwell Compatibility Guide; pytorch/pytorch#150733",
    cause="The build holds neither machine code for this GPU's architecture nor PTX that the"
    " driver could compile for it: it was made before the GPU, or without it.",
    fix="Take a build for a newer CUDA: Hopper needs 11.8, Blackwell 12.8.",
)
def arch_too_new(subject: Subject) -> Iterator[Finding]:
    """The build has code for GPUs as new as these."""
    build, bare = _bare(subject)
    for gpu in bare:
        if gpu.capability >= _newest(build):
            yield _no_kernels(subject, gpu, build, "newer than everything it is built for")
    _say_what_ptx_leaves_open(subject, build)


def _say_what_ptx_leaves_open(subject: Subject, build: Built) -> None:
    """PTX starts on any later GPU; cuBLAS and cuDNN of an older CUDA have only machine code."""
    matrix, cuda, ran = reading.load(), cuda_of_build(subject), _capabilities_that_ran(subject)
    for gpu in _serving(effective_machine(subject), "ptx", build.architectures):
        row = matrix.architecture(gpu.capability)
        is_known = row is None or row.first_toolkit is None or row.first_toolkit <= cuda
        if not is_known and gpu.capability not in ran:
            raise CannotLook(
                f"{gpus.describe(gpu)} can start this build from its PTX; whether the libraries of"
                f" CUDA {cuda}, which are older than it, work there is shown by `--level live`"
            )


@check(
    level="static",
    needs=("host",),
    symptom="PyTorch no longer supports this GPU because it is too old; no kernel image",
    why="is_available() is True, and the first kernel fails",
    source="vllm-project/vllm#19185, pytorch/pytorch#157517",
    cause="Newer builds leave old architectures out: CUDA 12 has no Kepler, CUDA 13 nothing"
    " before Turing, and torch's own builds stopped earlier.",
    fix="Take a build for an older CUDA that still has code for the GPU, or hide the GPU.",
)
def arch_too_old(subject: Subject) -> Iterator[Finding]:
    """The build has code for GPUs as old as these."""
    cuda, machine = cuda_of_build(subject), effective_machine(subject)
    if not built(subject).architectures and machine.gpus:
        yield from _dropped_by_toolkit(subject, machine, cuda)
    build, bare = _bare(subject)
    for gpu in bare:
        if gpu.capability < _newest(build):
            yield _no_kernels(subject, gpu, build, "which this build leaves out")


def _dropped_by_toolkit(subject: Subject, machine: Machine, cuda: CudaVersion) -> Iterator[Finding]:
    """Nobody recorded what is in the build; its compiler cannot have made code for these."""
    toolkit = reading.load().toolkit(cuda)
    oldest = toolkit.arch_min if toolkit else None
    for gpu in _models(machine):
        if oldest and gpu.capability < oldest:
            yield Finding(
                message=f"CUDA {cuda} has no code for {gpus.describe(gpu)}, which it dropped",
                seen=f"a build for CUDA {cuda}, whose compiler begins at {oldest}",
                expected=f"code for {gpu.capability}",
                remedy=_other_build(subject, "hide this GPU with CUDA_VISIBLE_DEVICES"),
            )


def _no_kernels(subject: Subject, gpu: Gpu, build: Built, relation: str) -> Finding:
    return Finding(
        message=f"this build has no kernels for {gpus.describe(gpu)}, {relation}",
        seen=f"code for {' '.join(build.architectures)}, by {build.witness}",
        expected=f"code for {gpu.capability}",
        remedy=_other_build(subject, "no published build runs on all GPUs here: hide this one"),
    )


# --- what these and others stand on -----------------------------------------------------------


def effective_machine(subject: Subject) -> Machine:
    """The machine as CUDA programs find it, for the matrix.

    libcuda's own word on its CUDA counts, also where it is one of `cuda-compat` before an older
    kernel driver. It is void where the GPUs do not take that: then the kernel driver's counts.
    """
    host = host_of(subject)
    machine, driver = host.machine, host.machine.driver
    if driver is None:
        return machine
    refused = host.cuda.init == _COMPAT_NOT_SUPPORTED and driver.version
    if refused and any(gpus.takes_compat(item, reading.load()) is False for item in machine.gpus):
        return replace(machine, driver=Driver(version=driver.version))
    return machine


def without_kernels(subject: Subject) -> tuple[Gpu, ...]:
    """The GPUs, each model once, that torch has no code for; empty where nobody knows."""
    build = built(subject)
    if not build.architectures:
        return ()
    return tuple(_serving(effective_machine(subject), "none", build.architectures))


def _bare(subject: Subject) -> tuple[Built, list[Gpu]]:
    """What the build has code for, and the GPUs here that it has none for."""
    cuda_of_build(subject)
    machine, build = effective_machine(subject), built(subject)
    if not machine.gpus:
        raise CannotLook(NO_GPU if machine.driver else NO_DRIVER)
    if not build.architectures:
        raise _nobody_knows()
    ran = _capabilities_that_ran(subject)
    bare = _serving(machine, "none", build.architectures)
    return build, [gpu for gpu in bare if gpu.capability not in ran]


def _capabilities_that_ran(subject: Subject) -> set[ComputeCapability | None]:
    """Of GPUs from which a kernel's result was read back: better evidence than any list."""
    runs = subject.probe.gpus if subject.probe else ()
    return {run.capability for run in runs if run.kernel_right}


def _serving(machine: Machine, code: gpus.Code, architectures: tuple[str, ...]) -> list[Gpu]:
    """The GPUs, each model once, that these architectures serve in this way."""
    matrix = reading.load()
    return [
        gpu
        for gpu in _models(machine)
        if gpus.kernels(gpu.capability, architectures, matrix) == code
    ]


def _models(machine: Machine) -> list[Gpu]:
    return list({(gpu.name, gpu.capability): gpu for gpu in machine.gpus}.values())


def _newest(build: Built) -> ComputeCapability:
    return max(Compiled.parse(item).capability for item in build.architectures)


def _other_build(subject: Subject, otherwise: str) -> str:
    command = remedies.create_for_machine(subject, effective_machine(subject), reading.load())
    return command or otherwise


def _nobody_knows() -> CannotLook:
    return CannotLook("nobody recorded the GPU architectures of this build")


def _cuda_of(ptx: tuple[int, int] | None) -> CudaVersion | None:
    return drivers.cuda_of_ptx(ptx, reading.load()) if ptx else None


def cuda_of_build(subject: Subject) -> CudaVersion:
    """The CUDA to be run. Raises NotApplicable where torch has none, CannotLook for nonsense."""
    try:
        return machines.cuda_of(subject)
    except InvalidValue as error:
        raise CannotLook(f"torch names a CUDA that cannot be read: {error}") from error


def _driver(machine: Machine) -> Driver:
    if machine.driver is None:
        raise CannotLook(NO_DRIVER)
    return machine.driver


def _support(driver: Driver, cuda: CudaVersion, subject: Subject) -> drivers.Support:
    try:
        return drivers.support(driver, cuda, reading.load(), subject.platform)
    except InvalidValue as error:
        raise CannotLook(str(error)) from error
