"""Do the devices compute? Each was tried in a child of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NoReturn

from envforge.model.finding import Finding
from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.machine import NO_DRIVER, NO_GPU
from envforge.verify.cuda_errors import cause_of, is_unsupported
from envforge.verify.facts import Copy, DeviceRun, Ending, Subject, TorchRun, Trial

EXAMINE: Final = "take this GPU out of use, and have it examined: `dcgmi diag -r 3`"
_SLOWEST_HOST, _SLOWEST_DEVICE = 1.5, 5.0
"""GB/s. PCIe 3.0 with four lanes of the usual sixteen moves more than 3, and the slowest memory
of a board that current builds serve more than 10."""
_OF_CUDA: Final = (
    "driver-too-old",
    "arch-too-new",
    "arch-too-old",
    "driver-does-not-answer",
    "exclusive-process-mode",
    "vgpu-unlicensed",
    "ecc-uncorrectable-row-remap",
    "gpu-error",
    "cuda-init-failed",
    "cuda-unknown-999-uvm",
    "cuda-803-driver-combination",
    "fabric-not-ready-802",
    "alloc-conf-invalid",
)
"""What, once found, explains that nothing runs on a GPU."""


@check(
    level="live",
    needs=("host", "probe"),
    symptom="CUDA error at the first use of a GPU, though is_available() is True",
    cause="the GPU is broken or taken, its memory is used up, or the build has no code for it",
    fix="mend what the error names; a GPU whose results are wrong has to be replaced",
    why="the GPU, or this build on it, cannot be used",
    source="pytorch/pytorch#150733; CUDA Runtime API, error codes",
    after=_OF_CUDA,
)
def gpu_kernel_fails(subject: Subject) -> Iterator[Finding]:
    """A kernel runs on every GPU, and its result is right."""
    for run in _gpus(subject):
        if run.kernel_right is None:
            yield Finding(
                message=f"{name_of(run)}: no kernel could be run: {how(run.ending)}",
                seen=f"{run.ending.ended} at `{run.ending.stage}`: {detail(run.ending)}",
                expected="a kernel that runs",
                remedy=_remedy(
                    run.ending.message,
                    "see the findings about the driver and the build; `dmesg` names a broken GPU"
                    " by `Xid`",
                ),
            )
        elif not run.kernel_right:
            yield Finding(
                message=f"{name_of(run)}: a kernel gave a wrong result",
                seen="a sum of whole numbers that is wrong",
                expected="the exact sum",
                remedy=EXAMINE,
            )


@check(
    level="live",
    needs=("host", "probe"),
    symptom="NaN, or results that differ from the CPU's by more than rounding",
    cause="a broken GPU, a cuBLAS that is not the build's, or clocks beyond what it can do",
    fix="use the libraries of the lock and the factory's clocks; else have the GPU replaced",
    why="training and inference are silently wrong",
    source="Higham, Accuracy and Stability of Numerical Algorithms, section 3.1",
    after=_OF_CUDA,
)
def gpu_matmul_wrong(subject: Subject) -> Iterator[Finding]:
    """Matrix products on every GPU agree with the CPU's within rounding, in every format."""
    required = ("matmul fp32",)
    yield from _group(subject, "matmul", "a matrix product", required, EXAMINE)


@check(
    level="live",
    needs=("host", "probe"),
    symptom="CUDNN_STATUS errors, NaN, or convolutions that differ from the CPU's",
    cause="cuDNN is not the one that torch was built with, incomplete, or too new for the GPU",
    fix="install the cuDNN of the lock completely, and keep other copies off LD_LIBRARY_PATH",
    why="every model with convolutions fails, or is silently wrong",
    source="cuDNN API reference, cudnnStatus_t; Higham, Accuracy and Stability of Numerical"
    " Algorithms, section 24.2",
    after=(*_OF_CUDA, "cudnn-sublibrary-mix", "cudnn-older-than-built", "cudnn-from-two-places"),
)
def gpu_convolution_wrong(subject: Subject) -> Iterator[Finding]:
    """Convolutions by cuDNN, with their gradients, agree with the CPU's within rounding."""
    remedy = f"{remedies.install(subject)}; where it stays so, {EXAMINE}"
    yield from _group(subject, "convolution", "a convolution", ("convolution",), remedy)


@check(
    level="live",
    needs=("host", "probe"),
    symptom="NaN or wrong outputs of transformers, or an error in scaled_dot_product_attention",
    cause="a fused kernel that this GPU, driver or cuDNN does not carry out as it should",
    fix="use the libraries of the lock; until then choose another backend with"
    " `torch.nn.attention.sdpa_kernel`",
    why="transformers use whichever backend torch prefers, and nobody sees which",
    source="PyTorch documentation, torch.nn.functional.scaled_dot_product_attention",
    after=(*_OF_CUDA, "cudnn-sublibrary-mix", "cudnn-older-than-built", "cudnn-from-two-places"),
)
def gpu_attention_wrong(subject: Subject) -> Iterator[Finding]:
    """Attention by every backend that a GPU has agrees with the CPU's within rounding."""
    remedy = f"{remedies.install(subject)}; where it stays so, {EXAMINE}"
    yield from _group(subject, "attention", "attention", ("attention math",), remedy)


@check(
    level="live",
    needs=("host", "probe"),
    severity="warning",
    symptom="error 222, or `failed to open libnvrtc-builtins`, in programs that compile kernels",
    cause="the toolkit's NVRTC is newer than the driver's compiler, or one of them is incomplete",
    fix="update the driver to the branch of the build's CUDA; install NVRTC completely",
    why="torch's own kernels run, and those that are compiled at run time do not",
    source="CUDA Compatibility guide, minor version compatibility; NVlabs/PWC-Net#138,"
    " pytorch/pytorch#58101",
    after=(*_OF_CUDA, "driver-minor-too-old-for-ptx", "nvrtc-builtins-missing"),
)
def gpu_ptx_jit_fails(subject: Subject) -> Iterator[Finding]:
    """The driver compiles the PTX that this build's NVRTC makes."""
    remedy = "update the driver to the branch of the build's CUDA"
    yield from _group(subject, "PTX", "PTX of this build", ("PTX",), remedy)


@check(
    level="live",
    needs=("host", "probe"),
    symptom="data that differs after a copy to or from a GPU, or an error in copying it",
    cause="a bad riser, slot or cable, IOMMU settings, or memory of the host or GPU that fails",
    fix="look for PCIe errors in `dmesg` and for Xid; seat the GPU anew, or have it replaced",
    why="every batch that goes to the GPU may be damaged",
    source="NVIDIA GPU Debug Guidelines, XID errors",
    after=_OF_CUDA,
)
def gpu_copy_wrong(subject: Subject) -> Iterator[Finding]:
    """What is copied to, from and within every GPU arrives unchanged."""
    runs = _that_ran(subject)
    for run in runs:
        yield from _died(run, "copies", "data could not be copied")
        for item in run.copies:
            if item.right is False:
                yield Finding(
                    message=f"{name_of(run)}: a copy is damaged ({item.name})",
                    seen="other numbers than were sent",
                    expected="every number as it was sent",
                    remedy=EXAMINE,
                )
            elif item.error:
                yield _copy_failed(run, item)
    for run in runs:
        if not run.copies:
            _not_tried(run, "copied", run.copies_skipped)


def _copy_failed(run: DeviceRun, item: Copy) -> Finding:
    is_pinned = item.name.endswith("pinned")
    return Finding(
        message=f"{name_of(run)}: a copy fails ({item.name}): {_meaning(item.error)}",
        seen=_first_line(item.error),
        expected="a copy of 64 MiB",
        remedy=_remedy(item.error, EXAMINE),
        severity="warning" if is_pinned else "error",
    )


@check(
    level="live",
    needs=("host", "probe"),
    severity="warning",
    symptom="a GPU that is often idle, waiting for data",
    cause="the link has fewer lanes or a lower speed than it should, or another program uses it",
    fix="compare `nvidia-smi -q -d PCIE` (current and maximum); seat the GPU in a full slot",
    why="loading data and moving models takes many times as long as it should",
    source="PCI Express Base Specification; nvidia-smi documentation, PCIe",
)
def gpu_slow_copies(subject: Subject) -> Iterator[Finding]:
    """Copies to and from every GPU are about as fast as its link."""
    runs = _that_ran(subject)
    for run in runs:
        slow = [(item, least) for item, least in _with_least(run) if _speed(item) < least]
        if slow:
            item, least = min(slow, key=lambda pair: _speed(pair[0]) / pair[1])
            yield Finding(
                message=f"{name_of(run)}: copies are slow: {_speed(item):.2g} GB/s ({item.name})",
                seen=", ".join(f"{each.name}: {_speed(each):.2g} GB/s" for each, _ in slow),
                expected=f"more than {least:g} GB/s, unless another program uses the link as well",
                remedy="nvidia-smi -q -d PCIE",
            )
    for run in runs:
        if not any(True for _ in _with_least(run)):
            _not_tried(run, "timed a copy", run.copies_skipped)


def _with_least(run: DeviceRun) -> Iterator[tuple[Copy, float]]:
    """Copies whose speed says something: from memory that is pinned, or within the GPU."""
    for item in run.copies:
        if item.gigabytes_per_second is not None and not item.name.endswith("pageable"):
            yield item, _SLOWEST_HOST if "host" in item.name else _SLOWEST_DEVICE


def _speed(item: Copy) -> float:
    return item.gigabytes_per_second or 0.0


@check(
    level="live",
    needs=("host", "probe"),
    symptom="CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH, or crashes in convolutions",
    cause="cuDNN opens its parts by name when they are needed, and one was found somewhere else",
    fix="one complete cuDNN, and no other on LD_LIBRARY_PATH or in the loader's cache",
    why="parts of different versions of cuDNN do not work together",
    source="pytorch/pytorch#185512, pytorch/pytorch#188892",
    after=("cudnn-sublibrary-mix", "cudnn-older-than-built"),
)
def cudnn_from_two_places(subject: Subject) -> Iterator[Finding]:
    """All parts of cuDNN that a convolution loads come from one folder."""
    runs = _that_ran(subject)
    looked = []
    for run in runs:
        parts = [path for path in run.libraries if _file(path).startswith("libcudnn")]
        folders = sorted({path.rpartition("/")[0] for path in parts})
        looked += [run.device] if parts else []
        if len(folders) > 1:
            yield Finding(
                message=f"cuDNN is loaded from {len(folders)} places at once",
                seen=", ".join(sorted(parts)),
                expected=f"all parts in {folders[0]}",
                remedy="unset LD_LIBRARY_PATH; else " + remedies.install(subject),
            )
            return
    if not looked:
        raise CannotLook("no convolution loaded cuDNN")


@check(
    level="live",
    needs=("probe",),
    symptom="Illegal instruction, or wrong results on the CPU",
    cause="a build for another CPU, or another library in place of MKL, OpenBLAS or oneDNN",
    fix="install what the lock names, and unset LD_PRELOAD and LD_LIBRARY_PATH",
    why="whatever falls to the CPU is wrong or crashes",
    source="Higham, Accuracy and Stability of Numerical Algorithms, section 3.1",
    after=("illegal-instruction",),
)
def cpu_compute_wrong(subject: Subject) -> Iterator[Finding]:
    """Torch computes right on the CPU."""
    runs = [run for run in _devices(subject) if run.device == "cpu"]
    if not runs:
        raise CannotLook("the CPU was not tried")
    remedy = remedies.install(subject)
    for run in runs:
        if run.kernel_right is None or not run.kernel_right:
            yield Finding(
                message=f"torch does not compute on the CPU: {how(run.ending)}",
                seen=f"{run.ending.ended} at `{run.ending.stage}`: {detail(run.ending)}",
                expected="a sum of whole numbers",
                remedy=remedy,
            )
            continue
        for group, what, required in (
            ("matmul", "a matrix product", ("matmul fp32",)),
            ("convolution", "a convolution", ("convolution",)),
            ("attention", "attention", ("attention",)),
        ):
            yield from _judged(run, group, what, required, remedy)


# --- trials ---------------------------------------------------------------------------------


def _group(
    subject: Subject, group: str, what: str, required: Sequence[str], remedy: str
) -> Iterator[Finding]:
    """Findings about the trials of one kind on every GPU that runs kernels."""
    runs = _that_ran(subject)
    for run in runs:
        yield from _judged(run, group, what, required, remedy)
    for run in runs:
        of_kind = _trials(run, group)
        if not any(item.right is not None or item.error for item in of_kind):
            skipped = next((item.skipped for item in of_kind), "")
            _not_tried(run, f"tried {what}", skipped)


def _judged(
    run: DeviceRun, group: str, what: str, required: Sequence[str], remedy: str
) -> Iterator[Finding]:
    yield from _died(run, group, f"{what} could not be computed")
    for trial in _trials(run, group):
        form = trial.name.removeprefix(group).strip()
        label = f"{what} ({form})" if form else what
        if trial.right is False:
            off = "no number" if trial.worst is None else f"{trial.worst:.3g} times the error"
            yield Finding(
                message=f"{name_of(run)}: {label} is wrong",
                seen=f"{off} that rounding allows" if trial.worst is not None else off,
                expected="at most the rounding error of the number format",
                remedy=remedy,
            )
        elif trial.error and (trial.name in required or not is_unsupported(trial.error)):
            yield Finding(
                message=f"{name_of(run)}: {label} fails: {_meaning(trial.error)}",
                seen=_first_line(trial.error),
                expected="a result",
                remedy=_remedy(trial.error, remedy),
            )


def _trials(run: DeviceRun, group: str) -> list[Trial]:
    """The trials of one kind; facts of an earlier probe have the fp32 product alone."""
    if not run.trials and group == "matmul" and run.matmul_right is not None:
        return [Trial(name="matmul fp32", right=run.matmul_right, worst=run.matmul_error)]
    return [item for item in run.trials if item.name.startswith(group)]


def _died(run: DeviceRun, group: str, what: str) -> Iterator[Finding]:
    """A process that did not survive this kind of trial; an error of the trial tells it better."""
    if run.ending.is_good or not run.ending.stage.startswith(group):
        return
    told = [item.error for item in _trials(run, group)]
    told += [item.error for item in run.copies] if group == "copies" else []
    if not any(told):
        yield Finding(
            message=f"{name_of(run)}: {what}: {how(run.ending)}",
            seen=f"{run.ending.ended} at `{run.ending.stage}`: {detail(run.ending)}",
            expected="a result",
            remedy=_remedy(run.ending.message, EXAMINE if run.device != "cpu" else "see `dmesg`"),
        )


def _that_ran(subject: Subject) -> list[DeviceRun]:
    runs = [run for run in _gpus(subject) if run.kernel_right]
    if not runs:
        raise CannotLook("no kernel ran on any GPU")
    return runs


def _not_tried(run: DeviceRun, what: str, reason: str) -> NoReturn:
    """What was not looked at on one of the GPUs is not proven."""
    raise CannotLook(
        f"{run.device} has not {what}: {reason or f'it ended at `{run.ending.stage}`'}"
    )


# --- words ----------------------------------------------------------------------------------


def name_of(run: DeviceRun) -> str:
    """`cuda:0 (NVIDIA H200)`."""
    return f"{run.device} ({run.name})" if run.name else run.device


def how(ending: Ending) -> str:
    """How a child ended, in a few words."""
    if ending.ended == "timeout":
        return f"no end at `{ending.stage}`"
    if ending.ended.startswith("signal"):
        return f"the process died ({ending.ended}) at `{ending.stage}`"
    return _meaning(ending.message) if ending.message else ending.ended


def detail(ending: Ending) -> str:
    """The last of what it said."""
    lines = [line.strip() for line in ending.trace.splitlines() if line.strip()]
    return _first_line(ending.message) or (lines[-1] if lines else "nothing was said")


def _meaning(error: str) -> str:
    cause = cause_of(error)
    return f"{cause.means} ({_first_line(error)})" if cause else _first_line(error)


def _remedy(error: str, otherwise: str) -> str:
    cause = cause_of(error)
    return cause.remedy if cause else otherwise


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _file(path: str) -> str:
    return path.rpartition("/")[2]


# --- devices --------------------------------------------------------------------------------


def _gpus(subject: Subject) -> list[DeviceRun]:
    cuda_torch(subject)
    runs = [run for run in _devices(subject) if run.device != "cpu"]
    if not runs:
        raise CannotLook(no_gpu(subject))
    return runs


def no_gpu(subject: Subject) -> str:
    """Why there is no GPU to try."""
    return NO_GPU if subject.host and subject.host.machine.driver else NO_DRIVER


def _devices(subject: Subject) -> tuple[DeviceRun, ...]:
    imported_torch(subject)
    return subject.probe.devices if subject.probe else ()


def cuda_torch(subject: Subject) -> TorchRun:
    """What the import of a CUDA build gave; a CPU build has nothing to say of GPUs."""
    if subject.target is not None and subject.target.cuda is None:
        raise NotApplicable("a CPU build uses no GPU")
    torch = imported_torch(subject)
    if torch.cuda is None:
        raise NotApplicable("a CPU build uses no GPU")
    return torch


def imported_torch(subject: Subject) -> TorchRun:
    """What the import of torch gave. Raises CannotLook where there was none."""
    torch = subject.probe.torch if subject.probe else None
    if torch is None or torch.version is None:
        raise CannotLook("torch could not be imported")
    return torch
