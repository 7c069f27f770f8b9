"""Do the GPUs compute? Each was tried in a child of its own."""

from __future__ import annotations

from collections.abc import Iterator

from envforge.model.finding import Finding
from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.machine import NO_DRIVER, NO_GPU
from envforge.verify.facts import DeviceRun, Ending, Subject, TorchRun


@check(
    level="import",
    needs=("host", "probe"),
    symptom="nvidia-smi lists GPUs, and torch.cuda.is_available() is False",
    why="NVML, which nvidia-smi asks, is another way than CUDA; programs need CUDA",
    source="huggingface/huggingface_hub#4134",
)
def nvml_says_yes_cuda_says_no(subject: Subject) -> Iterator[Finding]:
    """Where the machine has GPUs, torch can use them."""
    torch = _cuda_torch(subject)
    host = subject.host
    if host is None or host.machine.origin == "described" or not host.machine.gpus:
        raise CannotLook(NO_GPU if host and host.machine.driver else NO_DRIVER)
    if torch.available is None:
        raise CannotLook("torch did not say whether CUDA is available")
    if not torch.available:
        said = torch.warnings[0].partition("\n")[0] if torch.warnings else "without a word"
        yield Finding(
            message="the machine has a GPU, and torch cannot use it",
            seen=f"{len(host.machine.gpus)} GPUs; is_available() is False: {said}",
            expected="torch.cuda.is_available() is True",
            remedy="see the findings about the driver and the build",
        )


@check(
    level="live",
    needs=("host", "probe"),
    symptom="CUDA error at the first use of a GPU, though is_available() is True",
    why="the GPU, or this build on it, cannot be used",
    source="pytorch/pytorch#150733; CUDA Runtime API, error codes",
)
def gpu_kernel_fails(subject: Subject) -> Iterator[Finding]:
    """A kernel runs on every GPU, and its result is right."""
    for run in _gpus(subject):
        if run.kernel_right is None:
            yield Finding(
                message=f"{_name(run)}: no kernel could be run: {_how(run.ending)}",
                seen=f"{run.ending.ended} at `{run.ending.stage}`: {_detail(run.ending)}",
                expected="a kernel that runs",
                remedy="see the findings about the driver and the build; `dmesg` names a broken GPU"
                " by `Xid`",
            )
        elif not run.kernel_right:
            yield Finding(
                message=f"{_name(run)}: a kernel gave a wrong result",
                seen="a sum of whole numbers that is wrong",
                expected="the exact sum",
                remedy="take this GPU out of use, and have it examined: `dcgmi diag -r 3`",
            )


@check(
    level="live",
    needs=("host", "probe"),
    symptom="NaN, or results that differ from the CPU's by more than rounding",
    why="training and inference are silently wrong",
    source="Higham, Accuracy and Stability of Numerical Algorithms, section 3.1",
)
def gpu_matmul_wrong(subject: Subject) -> Iterator[Finding]:
    """Matrix products on every GPU agree with the CPU's within rounding."""
    yield from _matmul(
        _gpus(subject),
        "take this GPU out of use, and have it examined: `dcgmi diag -r 3`",
    )


@check(
    level="live",
    needs=("probe",),
    symptom="Illegal instruction, or wrong results on the CPU",
    why="whatever falls to the CPU is wrong or crashes",
    source="Higham, Accuracy and Stability of Numerical Algorithms, section 3.1",
)
def cpu_compute_wrong(subject: Subject) -> Iterator[Finding]:
    """Torch computes right on the CPU."""
    runs = [run for run in _devices(subject) if run.device == "cpu"]
    if not runs:
        raise CannotLook("the CPU was not tried")
    for run in runs:
        if run.kernel_right is None or not run.kernel_right:
            yield Finding(
                message=f"torch does not compute on the CPU: {_how(run.ending)}",
                seen=f"{run.ending.ended} at `{run.ending.stage}`: {_detail(run.ending)}",
                expected="a sum of whole numbers",
                remedy=remedies.install(subject),
            )
    yield from _matmul(runs, remedies.install(subject))


def _matmul(runs: list[DeviceRun], remedy: str) -> Iterator[Finding]:
    for run in runs:
        if run.kernel_right and run.matmul_right is None:
            yield Finding(
                message=f"{_name(run)}: no matrix product could be computed: {_how(run.ending)}",
                seen=f"{run.ending.ended} at `{run.ending.stage}`: {_detail(run.ending)}",
                expected="a product",
                remedy=remedy,
            )
        elif run.matmul_right is False:
            off = "no number" if run.matmul_error is None else f"{run.matmul_error:.3g} times"
            yield Finding(
                message=f"{_name(run)}: a matrix product is wrong",
                seen=f"{off} of the rounding error allowed",
                expected="at most once the rounding error of fp32",
                remedy=remedy,
            )


def _gpus(subject: Subject) -> list[DeviceRun]:
    _cuda_torch(subject)
    runs = [run for run in _devices(subject) if run.device != "cpu"]
    if not runs:
        raise CannotLook(NO_GPU if subject.host and subject.host.machine.driver else NO_DRIVER)
    return runs


def _devices(subject: Subject) -> tuple[DeviceRun, ...]:
    _torch(subject)
    return subject.probe.devices if subject.probe else ()


def _cuda_torch(subject: Subject) -> TorchRun:
    if subject.target is not None and subject.target.cuda is None:
        raise NotApplicable("a CPU build uses no GPU")
    torch = _torch(subject)
    if torch.cuda is None:
        raise NotApplicable("a CPU build uses no GPU")
    return torch


def _torch(subject: Subject) -> TorchRun:
    torch = subject.probe.torch if subject.probe else None
    if torch is None or torch.version is None:
        raise CannotLook("torch could not be imported")
    return torch


def _name(run: DeviceRun) -> str:
    return f"{run.device} ({run.name})" if run.name else run.device


def _how(ending: Ending) -> str:
    if ending.ended == "timeout":
        return f"no end at `{ending.stage}`"
    if ending.ended.startswith("signal"):
        return f"the process died ({ending.ended}) at `{ending.stage}`"
    return ending.message.partition("\n")[0] or ending.ended


def _detail(ending: Ending) -> str:
    lines = [line.strip() for line in ending.trace.splitlines() if line.strip()]
    return ending.message.partition("\n")[0] or (lines[-1] if lines else "nothing was said")
