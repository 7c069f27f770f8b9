"""What the place we run in does to its GPUs: a scheduler, WSL, an IOMMU, cuda-compat."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from envforge.model.finding import Finding
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.machine import files_of
from envforge.verify.checks.machine_files import shut_nodes
from envforge.verify.facts import DriverCopy, HostFacts, MachineFiles, Subject

_NO_DEVICE: Final = 100
_DENIED_CODES: Final = frozenset({None, _NO_DEVICE, 304, 999})
"""cuInit where every node is shut: it was not loaded, no device, operating system, unknown."""
_JOB: Final = ("SLURM_JOB_ID", "SLURM_JOBID")
_NUMBERS: Final = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "GPU_DEVICE_ORDINAL")
_COUNTS: Final = (
    "SLURM_GPUS",
    "SLURM_GPUS_ON_NODE",
    "SLURM_GPUS_PER_NODE",
    "SLURM_GPUS_PER_TASK",
    "SLURM_GPUS_PER_SOCKET",
)
_NO_DEV_FILES: Final = "NoDevFiles"
_WSL_FOLDER: Final = "/usr/lib/wsl/"


@check(
    level="static",
    needs=("host",),
    symptom="No CUDA GPUs are available, in a job on a GPU node",
    why="Slurm keeps GPUs from jobs that did not ask for one",
    source="ray-project/ray#7014, ray-project/ray#6978; Slurm, generic resource scheduling",
    cause="The job was submitted without GPUs, so its control group forbids their device nodes, or"
    " CUDA_VISIBLE_DEVICES names none.",
    fix="Submit it with `--gres=gpu:1` or `--gpus=1`, to a partition that has GPUs.",
)
def slurm_no_gres(subject: Subject) -> Iterator[Finding]:
    """A Slurm job that needs a GPU was given one."""
    host, files = files_of(subject)
    job = next((host.variables[name] for name in _JOB if host.variables.get(name)), None)
    if job is None:
        raise NotApplicable("this is no Slurm job")
    if _is_granted(host.variables):
        return
    shut = shut_nodes(files)
    if not _is_kept_away(subject, host, files, is_shut=bool(shut)):
        return
    if not (files.has_hardware or shut or _is_hidden(host) or subject.require_gpu):
        raise CannotLook("no NVIDIA GPU is in sight of this job")
    yield Finding(
        message=f"Slurm job {job} was given no GPU",
        seen=_seen_in_job(host, shut[0].path if shut else None),
        expected="SLURM_JOB_GPUS or SLURM_GPUS_ON_NODE, set by Slurm",
        remedy="sbatch --gres=gpu:1 … (`srun --gres=gpu:1 --pty bash` for a shell)",
    )


def _is_granted(variables: Mapping[str, str]) -> bool:
    """Numbers of GPUs, where `0` is one, or how many there are, where it is none."""
    by_number = any(re.search(r"\d", variables.get(name, "")) for name in _NUMBERS)
    return by_number or any(re.search(r"[1-9]", variables.get(name, "")) for name in _COUNTS)


def _is_kept_away(subject: Subject, host: HostFacts, files: MachineFiles, *, is_shut: bool) -> bool:
    """Whether CUDA gets no GPU, in a way that Slurm brings about."""
    if is_shut:
        return bool(host.usable_gpus) or host.cuda.init in _DENIED_CODES
    if host.usable_gpus or (files.gpus and not files.kernel.is_loaded):
        return False
    elsewhere = subject.require_gpu and host.machine.driver is None and not files.has_hardware
    return host.cuda.init == _NO_DEVICE or _is_hidden(host) or elsewhere


def _is_hidden(host: HostFacts) -> bool:
    """Slurm writes this, or nothing, where a job has no GPU."""
    return host.variables.get("CUDA_VISIBLE_DEVICES") == _NO_DEV_FILES


def _seen_in_job(host: HostFacts, shut: str | None) -> str:
    hidden = host.variables.get("CUDA_VISIBLE_DEVICES")
    parts = ["no SLURM_JOB_GPUS, no SLURM_GPUS_ON_NODE"]
    if hidden is not None:
        parts.append(f"CUDA_VISIBLE_DEVICES={hidden}")
    if shut is not None:
        parts.append(f"{shut} cannot be opened")
    return "; ".join(parts)


@check(
    level="static",
    needs=("host",),
    symptom="libcuda.so.1 is not a symbolic link; torch finds no driver under WSL2",
    why="under WSL2 the only driver is the one of Windows, in /usr/lib/wsl/lib",
    source="microsoft/WSL#5663, microsoft/WSL#8587; CUDA on WSL user guide",
    cause="A Linux driver was installed inside WSL, often as a dependency of a CUDA package, and"
    " its libcuda comes before the one of Windows; or the loader does not know of that one.",
    fix="Remove the Linux driver's packages from WSL; keep /usr/lib/wsl/lib in the loader's path.",
)
def wsl_libcuda_path(subject: Subject) -> Iterator[Finding]:
    """Under WSL2, libcuda is the one of Windows."""
    host, files = files_of(subject)
    if not files.is_wsl:
        raise NotApplicable("this is not WSL")
    if not files.has_wsl_library or files.container is not None:
        return
    shadow = _linux_driver(files)
    if shadow is not None:
        works = bool(host.usable_gpus)
        yield Finding(
            message=f"a Linux driver is installed inside WSL: `{shadow.path}` shadows the one of"
            " Windows",
            seen=f"`{shadow.real}` beside /usr/lib/wsl/lib/libcuda.so.1",
            expected="/usr/lib/wsl/lib/libcuda.so.1 alone",
            remedy="sudo apt purge 'libnvidia-compute-*' 'nvidia-driver-*' && sudo ldconfig",
            severity="warning" if works else "error",
        )
    elif host.cuda.library is None and host.cuda.ended == "done" and not host.usable_gpus:
        yield Finding(
            message="the loader does not find the libcuda of Windows",
            seen=f"/usr/lib/wsl/lib/libcuda.so.1 is there; {host.cuda.absent or 'not loaded'}",
            expected="/usr/lib/wsl/lib in the loader's path",
            remedy="echo /usr/lib/wsl/lib | sudo tee /etc/ld.so.conf.d/ld.wsl.conf"
            " && sudo ldconfig",
        )


def _linux_driver(files: MachineFiles) -> DriverCopy | None:
    """A libcuda of the distribution: its own file, not a link or copy into Windows' folder."""
    for item in files.copies_of("libcuda.so.1"):
        if item.place not in {"cache", "default", "leftover"} or item.is_compat or not item.bytes:
            continue
        if not item.real.startswith(_WSL_FOLDER) and not item.path.startswith(_WSL_FOLDER):
            return item
    return None


@check(
    level="static",
    needs=("host",),
    severity="warning",
    symptom="the first all_reduce hangs with GPUs at 100 %; NCCL_P2P_DISABLE=1 cures it",
    why="NCCL copies from GPU to GPU over PCIe, and a translating IOMMU can lose those copies",
    source="NVIDIA/nccl#257, NVIDIA/nccl#631; NCCL user guide, troubleshooting, PCI access control",
    cause="The IOMMU translates what GPUs send each other (no `iommu=pt`), or PCIe access control"
    " sends it by way of the processor.",
    fix="Start the kernel with `iommu=pt`, turn off access control (ACS) in the firmware, or live"
    " with NCCL_P2P_DISABLE=1.",
)
def nccl_p2p_hang(subject: Subject) -> Iterator[Finding]:
    """Nothing stands between GPUs that talk over PCIe."""
    host, files = files_of(subject)
    if len(host.usable_gpus) < 2:
        raise NotApplicable("fewer than two GPUs")
    if files.is_virtual is None and not _is_asked_for(files):
        raise CannotLook("nothing tells whether this is a virtual machine")
    if files.is_virtual or _is_linked(host) or _is_told_not_to(host):
        return
    translating = [item for item in files.gpus if _is_translated(item.iommu, files)]
    if len(translating) > 1:
        kind = translating[0].iommu or "on"
        yield Finding(
            message=f"the IOMMU translates between {len(translating)} GPUs that have no NVLink:"
            " jobs on several of them can hang",
            seen=f"IOMMU group of {translating[0].address}: {kind}",
            expected="`identity` (iommu=pt)",
            remedy="add `iommu=pt` to the kernel's command line and reboot; until then"
            " export NCCL_P2P_DISABLE=1",
        )


def _is_linked(host: HostFacts) -> bool:
    """Whether NVLink joins the GPUs."""
    states = host.nvml.states
    return bool(states) and all(item.links_active for item in states)


def _is_told_not_to(host: HostFacts) -> bool:
    return host.variables.get("NCCL_P2P_DISABLE", "0") not in {"", "0"} or (
        host.variables.get("NCCL_P2P_LEVEL", "").upper() in {"LOC", "NVL", "0"}
    )


def _is_translated(kind: str | None, files: MachineFiles) -> bool:
    """By the group's own word; kernels before 5.11 have none, and then by the command line."""
    if kind is None:
        return False
    if kind:
        return kind.upper().startswith("DMA")
    if files.kernel.option("iommu") in {"pt", "off"} or (
        files.kernel.option("iommu.passthrough") == "1"
    ):
        return False
    return _is_asked_for(files)


def _is_asked_for(files: MachineFiles) -> bool:
    """Whether the kernel's command line turns the IOMMU on."""
    asked = files.kernel.option("intel_iommu", "amd_iommu") or ""
    return "on" in asked.split(",") or "force" in (files.kernel.option("iommu") or "").split(",")


@check(
    level="static",
    needs=("host",),
    symptom="Error 803, or a CUDA that is older than the driver's, in an image with cuda-compat",
    why="cuda-compat is for drivers older than itself; in front of a newer one it does harm",
    source="NVIDIA CUDA Compatibility guide, forward compatibility; NVIDIA/nvidia-docker#1256",
    cause="An image puts its cuda-compat folder first in LD_LIBRARY_PATH or in the loader's cache,"
    " whatever the driver of the host.",
    fix="Take the folder out of the path where the driver is newer than it.",
    after=(
        "cuda-803-driver-combination",
        "driver-library-mismatch-nvml",
        "driver-baked-into-image",
    ),
)
def stale_cuda_compat(subject: Subject) -> Iterator[Finding]:
    """No cuda-compat older than the driver comes first."""
    host, files = files_of(subject)
    kernel = files.kernel.driver
    first = next((item for item in files.copies_of("libcuda.so.1") if item.bytes), None)
    if kernel is None or first is None or not first.is_compat or first.version is None:
        return
    if first.place in {"LD_LIBRARY_PATH", "cache"} and _numbers(first.version) < _numbers(kernel):
        folder = first.path.rpartition("/")[0]
        yield Finding(
            message=f"cuda-compat {first.version} comes before the driver's own, newer library",
            seen=f"`{first.path}` is of driver {first.version}; the kernel module is {kernel}",
            expected=f"libcuda.so.{kernel}",
            remedy=f"take {folder} out of LD_LIBRARY_PATH"
            if first.place == "LD_LIBRARY_PATH"
            else f"take {folder} out of /etc/ld.so.conf.d, and run ldconfig",
            severity="warning" if host.usable_gpus else "error",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
