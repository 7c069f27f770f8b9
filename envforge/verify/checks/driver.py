"""Is there a driver, and does it start?"""

from __future__ import annotations

from collections.abc import Iterator

from envforge.model.finding import Finding
from envforge.model.spec import AUTO
from envforge.verify import remedies
from envforge.verify.check import CannotLook, check
from envforge.verify.checks.machine import (
    NO_DRIVER,
    NO_GPU,
    cuda_of,
    driver_name,
    host_of,
    present,
)
from envforge.verify.facts import LibraryAnswer, Subject

_NO_DEVICE, _NOT_READY, _COMBINATION, _COMPAT, _UNKNOWN = 100, 802, 803, 804, 999
_NVML_MISMATCH = 18
_EXPLAINED = {_NO_DEVICE, _NOT_READY, _COMBINATION, _COMPAT, _UNKNOWN}


@check(
    level="static",
    needs=("host",),
    symptom="RuntimeError: Found no NVIDIA driver on your system",
    why="without a driver CUDA programs do not start",
    source="PyTorch, `torch/cuda/__init__.py`",
)
def no_driver_at_all(subject: Subject) -> Iterator[Finding]:
    """The machine has an NVIDIA driver, for an environment that needs one."""
    cuda_of(subject)
    host = host_of(subject)
    if host.machine.driver is not None:
        return
    if not subject.require_gpu:
        raise CannotLook(NO_DRIVER)
    library = f"; `{host.cuda.library}` is there alone" if host.cuda.library else ""
    yield Finding(
        message="no NVIDIA driver was found, and a GPU is required",
        seen=f"no kernel module, and no libcuda that starts{library}",
        expected="a driver and a GPU",
        remedy="run it on a GPU machine; in a container, start it with GPUs (`--gpus all`, `--nv`)",
    )


@check(
    level="static",
    needs=("host",),
    symptom="RuntimeError: No CUDA GPUs are available",
    why="CUDA sees no device, however many there are",
    source="ray-project/ray#7014, THUDM/slime#111; CUDA Programming Guide, CUDA_VISIBLE_DEVICES",
)
def cvd_empty_or_invalid(subject: Subject) -> Iterator[Finding]:
    """CUDA_VISIBLE_DEVICES hides no GPU by mistake."""
    cuda_of(subject)
    host = present(subject)
    value = host.variables.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return
    if not host.nvml.works:
        raise CannotLook("NVML does not answer, so hidden GPUs cannot be counted")
    entries = [item.strip() for item in value.split(",")]
    ordinals = [item for item in entries if item.isdigit()]
    beyond = [item for item in ordinals if int(item) >= len(host.nvml.gpus)]
    if host.nvml.gpus and (beyond or not host.cuda.gpus):
        what = f"names GPU {beyond[0]}, which does not exist" if beyond else "hides every GPU"
        yield Finding(
            message=f"CUDA_VISIBLE_DEVICES=`{value}` {what}",
            seen=f"{len(host.cuda.gpus)} of {len(host.nvml.gpus)} GPUs can be used",
            expected=f"GPU numbers from 0 to {len(host.nvml.gpus) - 1}",
            remedy="unset CUDA_VISIBLE_DEVICES",
            severity="warning" if host.cuda.gpus else "error",
        )


@check(
    level="static",
    needs=("host",),
    symptom="Error 802: system not yet initialized, while nvidia-smi looks healthy",
    why="GPUs behind NVSwitch cannot be used before the fabric manager has set them up",
    source="pytorch/pytorch#35710, jax-ml/jax#34113",
)
def fabric_not_ready_802(subject: Subject) -> Iterator[Finding]:
    """The GPUs' fabric is ready."""
    if _init_code(subject) == _NOT_READY:
        yield _init_failed(
            subject,
            "the GPUs are not initialised: the fabric manager is not running or of another version",
            "systemctl restart nvidia-fabricmanager, of exactly the driver's version",
        )


@check(
    level="static",
    needs=("host",),
    symptom="Error 803: system has unsupported display driver / cuda driver combination",
    why="a libcuda that is not the kernel module's own cannot start CUDA",
    source="NVIDIA/nvidia-docker#1256, ai-dynamo/nixl#441; CUDA Compatibility guide, FAQ",
)
def cuda_803_driver_combination(subject: Subject) -> Iterator[Finding]:
    """The libcuda that is loaded fits the kernel module."""
    code = _init_code(subject)
    if code in {_COMBINATION, _COMPAT}:
        library = host_of(subject).cuda.library
        yield _init_failed(
            subject,
            f"`{library}` does not fit the kernel module",
            "take that library's folder out of LD_LIBRARY_PATH and out of the image;"
            " after a driver update, reboot",
        )


@check(
    level="static",
    needs=("host",),
    symptom="CUDA unknown error - this may be due to an incorrectly set up environment",
    why="CUDA does not start, although nvidia-smi works",
    source="pytorch/pytorch#49081, apptainer/singularity#5966",
)
def cuda_unknown_999_uvm(subject: Subject) -> Iterator[Finding]:
    """CUDA starts without an unknown error."""
    if _init_code(subject) == _UNKNOWN:
        yield _init_failed(
            subject,
            "CUDA does not start, most often because the module nvidia_uvm is not loaded",
            "sudo modprobe nvidia_uvm; in a container, pass /dev/nvidia-uvm",
        )


@check(
    level="static",
    needs=("host",),
    symptom="Failed to initialize NVML: Driver/library version mismatch",
    why="after a driver update without a reboot neither CUDA nor nvidia-smi can be trusted",
    source="NVIDIA/ubuntu-packaging-nvidia-driver#3, mozilla/translations#1167",
)
def driver_library_mismatch_nvml(subject: Subject) -> Iterator[Finding]:
    """The driver's libraries are of the version of its kernel module."""
    host = present(subject)
    if host.nvml.init == _NVML_MISMATCH:
        kernel = f"kernel module {host.kernel_driver}" if host.kernel_driver else "NVML error 18"
        yield Finding(
            message="the driver was updated, and its old kernel module is still loaded",
            seen=f"{kernel}, and libraries of another version",
            expected="one version",
            remedy="reboot, or stop all GPU programs and load the nvidia modules again",
        )


@check(
    level="static",
    needs=("host",),
    symptom="CUDA initialization fails with an error of its own",
    why="no CUDA program starts here",
    source="CUDA Driver API, CUresult",
)
def cuda_init_failed(subject: Subject) -> Iterator[Finding]:
    """CUDA starts."""
    host = present(subject)
    if host.cuda.init is None and host.cuda.ended == "done" and host.cuda.library is None:
        yield Finding(
            message="there is a driver, and its library libcuda.so.1 cannot be loaded",
            seen=f"driver {driver_name(host)}, no libcuda.so.1",
            expected="libcuda.so.1 where the loader finds it",
            remedy="install the driver's user-space part; in a container, ask for the capability"
            " `compute` (NVIDIA_DRIVER_CAPABILITIES)",
        )
    code = host.cuda.init or 0
    if code and code not in _EXPLAINED:
        yield _init_failed(subject, "CUDA does not start", "reboot, or install the driver anew")
    elif code == _NO_DEVICE and "CUDA_VISIBLE_DEVICES" not in host.variables and host.nvml.gpus:
        yield _init_failed(
            subject,
            "NVML lists GPUs, and CUDA finds none",
            "look at the permissions of /dev/nvidia*, and at the cgroup's device rules",
        )


@check(
    level="static",
    needs=("host",),
    symptom="every CUDA program, and nvidia-smi, hangs or dies",
    why="a hung driver cannot be used, and programs that touch it cannot be killed",
    source="NVIDIA GPU Debug Guidelines, XID errors",
)
def driver_does_not_answer(subject: Subject) -> Iterator[Finding]:
    """The driver answers in time."""
    host = present(subject)
    for name, answer in (("libcuda", host.cuda), ("NVML", host.nvml)):
        if answer.ended != "done":
            yield Finding(
                message=f"{name} {_how(answer)} in `{answer.stage}`",
                seen=f"`{answer.ended}` in `{answer.stage}`",
                expected="an answer within seconds",
                remedy="look for `Xid` in `dmesg`; reset the GPU or reboot",
            )


def _how(answer: LibraryAnswer) -> str:
    if answer.ended == "timeout":
        return "does not answer"
    if answer.ended.startswith("signal"):
        return f"ended the process ({answer.ended})"
    return "could not be asked"


@check(
    level="static",
    needs=("host",),
    symptom="torch.cuda.is_available() is False, or No CUDA GPUs are available",
    why="there is nothing to run CUDA on",
    source="CUDA Driver API, cuDeviceGetCount",
)
def no_usable_gpu(subject: Subject) -> Iterator[Finding]:
    """There is a GPU that CUDA programs can use."""
    if subject.require_gpu and subject.target is not None and subject.target.cuda is None:
        yield Finding(
            message="a GPU is required, and this environment is a CPU build",
            seen=f"torch {subject.target.torch} without CUDA",
            expected="a CUDA build",
            remedy=remedies.create(subject, subject.target.torch, AUTO),
        )
        return
    cuda_of(subject)
    host = present(subject)
    if host.usable_gpus:
        return
    if not subject.require_gpu:
        raise CannotLook(NO_GPU)
    yield Finding(
        message="no GPU can be used, and one is required",
        seen=f"driver {driver_name(host)}, cuInit {host.cuda.init_name or host.cuda.init}",
        expected="at least one GPU",
        remedy="ask the scheduler for a GPU (`--gres=gpu:1`); see the findings about the driver",
    )


def _init_code(subject: Subject) -> int | None:
    cuda_of(subject)
    return present(subject).cuda.init


def _init_failed(subject: Subject, message: str, remedy: str) -> Finding:
    answer = host_of(subject).cuda
    name = f" ({answer.init_name})" if answer.init_name else ""
    return Finding(
        message=f"{message}{name}",
        seen=f"cuInit returned {answer.init}{name}",
        expected="cuInit returns 0",
        remedy=remedy,
    )
