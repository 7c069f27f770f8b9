"""Is there a driver, does it start, and do its witnesses agree?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from envforge.model.finding import Finding
from envforge.model.spec import AUTO
from envforge.model.wording import counted
from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.machine import (
    NO_DRIVER,
    NO_GPU,
    driver_name,
    host_of,
    present,
    wants_gpu,
)
from envforge.verify.checks.machine_files import MODULE as _NO_MODULE
from envforge.verify.checks.seen import in_cuda, in_nvml
from envforge.verify.facts import GpuState, HostFacts, LibraryAnswer, Subject

_NO_DEVICE, _NOT_READY, _COMBINATION, _COMPAT, _UNKNOWN = 100, 802, 803, 804, 999
_STUB: Final = 34
_MPS: Final = range(805, 811)
_NVML_MISMATCH: Final = 18
_NVML_SILENT: Final = (3, 9, 12, 13, _NVML_MISMATCH)
"""NVML without an answer for reasons of the machine's kind, or that another check names."""
_SMI_FAILURES: Final = (6, 9, 15)
"""nvidia-smi: no device found, no driver loaded, a GPU lost. Its other codes are about itself."""
_EXPLAINED: Final = {_NO_DEVICE, _NOT_READY, _COMBINATION, _COMPAT, _UNKNOWN, *_MPS}
_OUTSIDE: Final = (
    "singularity-no-nv",
    "container-without-gpu",
    "container-capabilities-missing",
    "slurm-no-gres",
    "wsl-libcuda-path",
    "dev-nodes-permission",
)
"""Why a GPU or a library of the machine does not reach us."""
_STARTING: Final = (
    "gpu-error",
    "driver-baked-into-image",
    "driver-library-mismatch-nvml",
    "driver-does-not-answer",
    "confidential-gpu-not-ready",
    "fabric-not-ready-802",
    "cuda-803-driver-combination",
    "mps-daemon-unreachable",
    "stale-cuda-compat",
    "cuda-unknown-999-uvm",
    "cvd-empty-or-invalid",
    "gsp-rminit-failed",
    "mig-without-slices",
    "cuda-init-failed",
)
"""Why CUDA does not start, or finds no GPU."""
_SYSTEM_FOLDERS: Final = ("/usr/lib", "/lib", "/usr/local/nvidia/")


@check(
    level="static",
    needs=("host",),
    symptom="Failed to initialize NVML: Driver/library version mismatch",
    why="after a driver update without a reboot neither CUDA nor nvidia-smi can be trusted",
    source="NVIDIA/ubuntu-packaging-nvidia-driver#3, mozilla/translations#1167",
    cause="The driver's packages were updated, often by unattended upgrades, while its old kernel"
    " module went on running; or two installers each put a driver there.",
    fix="Reboot, or unload the nvidia modules and load the new ones; then hold the driver's"
    " packages back from unattended upgrades.",
    after=("driver-baked-into-image",),
)
def driver_library_mismatch_nvml(subject: Subject) -> Iterator[Finding]:
    """The driver's libraries are of the version of its kernel module."""
    wants_gpu(subject)
    host = present(subject)
    others = _unlike_the_module(host)
    if not others and host.nvml.init != _NVML_MISMATCH:
        return
    kernel = f"kernel module {host.kernel_driver}" if host.kernel_driver else "NVML error 18"
    libraries = "; ".join(f"{who} {version}" for who, version in others.items())
    works = set(others) == {"libcuda.so"} and host.cuda.works
    container = host.files.container if host.files else None
    if works and container is not None and container.is_image:
        return  # whether it is the image's own is asked by `driver-baked-into-image`
    again = "sudo reboot; or stop all GPU programs and load the nvidia modules again"
    yield Finding(
        message=_how_it_came(others, host, works=works),
        seen=f"{kernel}, and {libraries or 'libraries of another version'}",
        expected="one version",
        remedy=_without_library(host) if works else again,
        severity="warning" if works else "error",
    )


def _how_it_came(others: dict[str, str], host: HostFacts, *, works: bool) -> str:
    if works:
        return f"`{host.cuda.library}` is of another version than the kernel module, and no compat"
    if _is_older(others, host.kernel_driver):
        return "the driver's libraries are older than its kernel module"
    return "the driver was updated, and its old kernel module is still loaded"


def _unlike_the_module(host: HostFacts) -> dict[str, str]:
    """Library to version, of those that are not of the kernel module's version."""
    kernel, nvml, cuda = host.kernel_driver, host.nvml, host.cuda
    if kernel is None:
        return {}
    fits = kernel in {nvml.driver, nvml.loaded_version} and nvml.works
    moved = cuda.works and "compat" not in (cuda.library or "")
    versions = {"libnvidia-ml.so": nvml.loaded_version, "NVML says driver": nvml.driver}
    if not nvml.works:
        versions["libnvidia-ml.so"] = nvml.loaded_version or nvml.on_disk
        if cuda.library is None:
            versions["libcuda.so"] = cuda.on_disk
    if moved or (not fits and not cuda.works and _is_of_the_system(cuda)):
        versions["libcuda.so"] = cuda.loaded_version
    return {who: version for who, version in versions.items() if version not in {None, "", kernel}}


def _is_of_the_system(answer: LibraryAnswer) -> bool:
    """Whether the loader took it from where drivers are installed, not from a folder of CUDA's."""
    path = answer.library or ""
    return path.startswith(_SYSTEM_FOLDERS) and "compat" not in path


def _is_older(others: dict[str, str], kernel: str | None) -> bool:
    return bool(others and kernel) and all(
        _numbers(version) < _numbers(kernel or "") for version in others.values()
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


@check(
    level="static",
    needs=("host",),
    symptom="every CUDA program, and nvidia-smi, hangs or dies",
    why="a hung driver cannot be used, and programs that touch it cannot be killed",
    source="NVIDIA GPU Debug Guidelines, XID errors",
    cause="A GPU fell off the bus or is being reset, its firmware hangs, or the kernel module met"
    " a bug; the library waits for it, or ends the process.",
    fix="Read the Xid lines of `dmesg`, stop what uses the GPU, reset it or reboot.",
)
def driver_does_not_answer(subject: Subject) -> Iterator[Finding]:
    """The driver answers in time."""
    wants_gpu(subject)
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


# --- codes of cuInit that name their cause --------------------------------------------------


@check(
    level="static",
    needs=("host",),
    symptom="nvidia-smi lists an H100, and CUDA answers 802: system not yet initialized",
    why="a GPU in confidential mode takes no work before it was attested and released",
    source="NVIDIA/nvtrust#37, NVIDIA/nvtrust#56",
    cause="Confidential computing is on, and after boot nobody has attested the GPUs and set"
    " their ready state, which the driver keeps as long as its persistence mode runs.",
    fix="Start nvidia-persistenced, attest the GPUs, set the ready state (root in the guest).",
)
def confidential_gpu_not_ready(subject: Subject) -> Iterator[Finding]:
    """GPUs in confidential mode were released for work."""
    host, code = _start(subject)
    if code != _NOT_READY:
        return
    behind_switches = host.fabric is not None and host.fabric.nvswitch
    is_on = host.smi.confidential or (host.smi.confidential is None and not behind_switches)
    if host.smi.ready is False and is_on:
        yield _init_failed(
            host,
            "the GPUs are in confidential mode, and were not set ready after attestation",
            "sudo nvidia-smi conf-compute -srs 1, after attesting the GPUs",
        )


@check(
    level="static",
    needs=("host",),
    symptom="Error 802: system not yet initialized, while nvidia-smi looks healthy",
    why="GPUs behind NVSwitch cannot be used before the fabric manager has set them up",
    source="pytorch/pytorch#35710, jax-ml/jax#34113; NVIDIA Fabric Manager User Guide",
    cause="The fabric manager is not installed, does not run, or is not of exactly the driver's"
    " version; or the fabric is still being set up, which takes minutes after boot.",
    fix="Install the fabric manager of the driver's version, enable and start it. On a rented"
    " machine tell its operator: nothing in an environment mends it.",
    after=("confidential-gpu-not-ready",),
)
def fabric_not_ready_802(subject: Subject) -> Iterator[Finding]:
    """The GPUs' fabric is ready."""
    host, code = _start(subject)
    if code == _NOT_READY:
        why, remedy = _what_of_the_fabric(host)
        yield _init_failed(host, f"the GPUs are not initialised: {why}", remedy)


def _what_of_the_fabric(host: HostFacts) -> tuple[str, str]:
    """Why the fabric is not ready, and the command."""
    restart = "sudo systemctl restart nvidia-fabricmanager"
    start = "sudo systemctl enable --now nvidia-fabricmanager"
    files, version = host.fabric, driver_name(host)
    states = {state.fabric for state in in_nvml(host)}
    if files and files.manager_version and files.manager_version != version:
        return (
            f"the fabric manager is {files.manager_version}, and the driver {version}",
            f"install nvidia-fabricmanager {version}, then {restart}",
        )
    if files and files.manager_running is False:
        if files.nvswitch and files.manager_version is None:
            return (
                "there is no fabric manager running, nor is its package known here",
                f"install nvidia-fabricmanager {version}, then {start}",
            )
        return (
            "the fabric manager is not running",
            f"{start}, of exactly the driver's version",
        )
    if "in-progress" in states:
        return (
            "the fabric manager has not ended setting up the fabric",
            f"wait some minutes and verify again; else {restart}",
        )
    if "failed" in states:
        return "the fabric manager failed to set up the fabric", f"{restart}, and read its log"
    return (
        "the fabric manager is not running or of another version",
        f"{restart}, of exactly the driver's version",
    )


@check(
    level="static",
    needs=("host",),
    symptom="Error 803: system has unsupported display driver / cuda driver combination",
    why="a libcuda that is not the kernel module's own cannot start CUDA",
    source="NVIDIA/nvidia-docker#1256, ai-dynamo/nixl#441; CUDA Compatibility guide, FAQ",
    cause="The libcuda that the loader finds first is not the driver's: a copy in an image, a"
    " cuda-compat older than the driver or for boards that do not support it, a second driver.",
    fix="Take that library's folder out of LD_LIBRARY_PATH or out of the image, and let the"
    " container toolkit bring the machine's own.",
    after=("driver-baked-into-image", "driver-library-mismatch-nvml"),
)
def cuda_803_driver_combination(subject: Subject) -> Iterator[Finding]:
    """The libcuda that is loaded fits the kernel module."""
    host, code = _start(subject)
    if code not in {_COMBINATION, _COMPAT}:
        return
    version, kernel = host.cuda.loaded_version, host.kernel_driver or host.nvml.driver
    of = f", of driver {version}," if version else ""
    module = f" {kernel}" if kernel else ""
    message = f"`{host.cuda.library}`{of} does not fit the kernel module{module}"
    if code == _COMPAT:
        message = (
            f"`{host.cuda.library}`{of} does not fit these GPUs: forward compatibility"
            " works on data centre boards only"
        )
    yield _init_failed(host, message, _without_library(host))


def _without_library(host: HostFacts) -> str:
    """How the library that was loaded is left out."""
    folder = (host.cuda.library or "").rpartition("/")[0]
    entries = [item for item in host.variables.get("LD_LIBRARY_PATH", "").split(":") if item]
    others = [item for item in entries if item.rstrip("/") != folder]
    if folder and len(others) < len(entries):
        rest = ":".join(others)
        return f"export LD_LIBRARY_PATH={rest}" if rest else "unset LD_LIBRARY_PATH"
    return (
        "take that library's folder out of LD_LIBRARY_PATH and out of the image;"
        " after a driver update, reboot"
    )


@check(
    level="static",
    needs=("host",),
    symptom="Error 805: MPS client failed to connect to the MPS control daemon or the MPS server",
    why="CUDA programs do not start, or not as MPS clients, as was wanted",
    source="NVIDIA Multi-Process Service guide; NVIDIA/nvidia-container-toolkit#277",
    cause="CUDA_MPS_PIPE_DIRECTORY came along from another shell or job, or the MPS daemon it"
    " leads to has ended, is full, or belongs to another user.",
    fix="Unset the variable, or start the MPS daemon again.",
)
def mps_daemon_unreachable(subject: Subject) -> Iterator[Finding]:
    """Where MPS is asked for, its daemon can be reached."""
    host, code = _start(subject)
    pipe = host.mps
    if code not in _MPS and (pipe is None or not pipe.asked or pipe.control):
        return
    fails = code in _MPS
    where = f" in `{pipe.folder}`" if pipe else ""
    what = f"no daemon listens{where}" if pipe and not pipe.control else "its daemon refuses us"
    if pipe and pipe.foreign:
        what = f"the daemon{where} is another user's"
    start = "unset CUDA_MPS_PIPE_DIRECTORY" if pipe and pipe.asked else "nvidia-cuda-mps-control -d"
    message = f"programs are to share the GPU through MPS, and {what}"
    if fails:
        yield _init_failed(host, message, f"{start}, or have the MPS daemon started again")
        return
    yield Finding(
        message=message,
        seen=f"CUDA_MPS_PIPE_DIRECTORY={pipe.folder if pipe else ''}, without a control socket",
        expected="a daemon there, or the variable unset",
        remedy=start,
        severity="warning",
    )


# --- whatever else keeps CUDA from starting -------------------------------------------------


@check(
    level="static",
    needs=("host",),
    symptom="CUDA initialization fails with an error of its own",
    why="no CUDA program starts here",
    source="CUDA Driver API, CUresult",
    cause="The driver's library is not where the loader looks, is the toolkit's stand-in for"
    " linking, or cannot talk with the kernel module.",
    fix="Install the driver's user-space libraries; in a container, have them brought in; take"
    " folders named `stubs` out of LD_LIBRARY_PATH.",
    after=(
        *_OUTSIDE,
        "driver-baked-into-image",
        "driver-does-not-answer",
        "driver-library-mismatch-nvml",
    ),
)
def cuda_init_failed(subject: Subject) -> Iterator[Finding]:
    """CUDA starts."""
    host, code = _start(subject)
    if host.cuda.init is None and host.cuda.ended == "done" and host.cuda.library is None:
        said = f": {host.cuda.absent}" if host.cuda.absent else ""
        yield Finding(
            message="there is a driver, and its library libcuda.so.1 cannot be loaded",
            seen=f"driver {driver_name(host)}, no libcuda.so.1{said}",
            expected="libcuda.so.1 where the loader finds it",
            remedy="install the driver's user-space part; in a container, ask for the capability"
            " `compute` (NVIDIA_DRIVER_CAPABILITIES)",
        )
    elif code == _STUB:
        yield _init_failed(
            host,
            f"`{host.cuda.library}` is the toolkit's stand-in to link with, and no driver",
            _without_library(host),
        )
    elif code and code not in _EXPLAINED and not in_nvml(host):
        yield _init_failed(host, "CUDA does not start", "reboot, or install the driver anew")


@check(
    level="static",
    needs=("host",),
    symptom="nvidia-smi lists GPUs, and torch.cuda.is_available() is False",
    why="NVML, which nvidia-smi asks, is another way than CUDA; programs need CUDA",
    source="huggingface/huggingface_hub#4134; CUDA Driver API, cuInit",
    cause="Listing GPUs and computing on them take different ways into the driver. The second is"
    " shut: by device nodes, control groups, a fault of the GPU, or the build of torch.",
    fix="Believe the error of CUDA, not nvidia-smi: start CUDA, make a context, run a kernel.",
    after=(
        *_OUTSIDE,
        *_NO_MODULE,
        *_STARTING,
        "driver-too-old",
        "cpu-build-from-conda-solve",
        "cpu-wheel-from-pip",
        "python-does-not-start",
        "torch-import-fails",
    ),
)
def nvml_says_yes_cuda_says_no(subject: Subject) -> Iterator[Finding]:
    """Where the machine has GPUs, CUDA starts and torch can use them."""
    wants_gpu(subject)
    host = host_of(subject)
    if host.machine.origin == "described":
        raise NotApplicable("the machine is described, not present")
    if not (host.machine.gpus or in_nvml(host)):
        raise CannotLook(NO_GPU if host.machine.driver else NO_DRIVER)
    count = len(in_nvml(host)) or len(host.machine.gpus)
    listed = counted(count, "GPU")
    if in_nvml(host) and not host.usable_gpus and not in_cuda(host):
        name = host.cuda.init_name or f"cuInit returned {host.cuda.init}"
        yield Finding(
            message=f"NVML lists {listed}, and CUDA cannot use any: {name}",
            seen=f"NVML: {listed}; cuInit returned {host.cuda.init} ({name})",
            expected="a CUDA that starts",
            remedy="sudo dmesg | grep -i -e nvrm -e xid; look at the permissions of /dev/nvidia*,"
            " and at the cgroup's device rules",
        )
        return
    yield from _torch_says_no(subject, listed)


def _torch_says_no(subject: Subject, listed: str) -> Iterator[Finding]:
    torch = subject.probe.torch if subject.probe else None
    if torch is None or torch.version is None:
        return
    if torch.cuda is None:
        raise NotApplicable("a CPU build uses no GPU")
    if torch.available is None:
        raise CannotLook("torch did not say whether CUDA is available")
    if not torch.available:
        said = torch.warnings[0].partition("\n")[0] if torch.warnings else "without a word"
        yield Finding(
            message="the machine has a GPU, and torch cannot use it",
            seen=f"{listed}; is_available() is False: {said}",
            expected="torch.cuda.is_available() is True",
            remedy="see the findings about the driver and the build",
        )


@check(
    level="static",
    needs=("host",),
    symptom="torch.cuda.is_available() is False, or No CUDA GPUs are available",
    why="there is nothing to run CUDA on",
    source="CUDA Driver API, cuDeviceGetCount",
    cause="The machine or the job has no GPU, the GPUs are hidden, or CUDA does not start.",
    fix="Ask the scheduler or the container for a GPU; mend what the other findings name.",
    after=("no-driver-at-all", *_OUTSIDE, *_STARTING),
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
    wants_gpu(subject)
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


# --- do the witnesses agree? ----------------------------------------------------------------


@check(
    level="static",
    needs=("host",),
    severity="warning",
    symptom="nvidia-smi, NVML and CUDA list different GPUs, or name different drivers",
    why="one of them looks at another driver, or at a GPU that cannot be used",
    source="NVML API reference; nvidia-smi manual, --query-gpu; CUDA Driver API",
    cause="Two drivers are installed side by side, a GPU went away while programs ran, or"
    " something lets a program see a GPU and not use it.",
    fix="Keep one driver, and its libraries alone in the loader's path; reboot after a change.",
    after=(
        "singularity-no-nv",
        "container-without-gpu",
        "container-capabilities-missing",
        "slurm-no-gres",
        "dev-nodes-permission",
        "driver-baked-into-image",
        "gsp-rminit-failed",
        "driver-does-not-answer",
        "driver-library-mismatch-nvml",
        "cvd-empty-or-invalid",
        "gpu-error",
        "mig-without-slices",
    ),
)
def witnesses_disagree(subject: Subject) -> Iterator[Finding]:
    """libcuda, NVML and nvidia-smi tell the same."""
    wants_gpu(subject)
    host = present(subject)
    asked = [host.cuda.init, host.nvml.init, host.smi.path]
    if sum(item is not None for item in asked) < 2:
        raise CannotLook("there is one witness only")
    for seen, expected in _disagreements(host):
        yield Finding(
            message=f"the driver's witnesses disagree: {seen}",
            seen=seen,
            expected=expected,
            remedy="keep one driver: `which -a nvidia-smi; ldconfig -p | grep -e libcuda.so -e"
            " libnvidia-ml.so` shows them all",
        )


def _disagreements(host: HostFacts) -> Iterator[tuple[str, str]]:
    """What was seen, and what was to be expected."""
    smi, nvml = host.smi, in_nvml(host)
    if host.nvml.works and smi.driver and host.nvml.driver not in {None, smi.driver}:
        yield f"driver {host.nvml.driver} by NVML, {smi.driver} by nvidia-smi", "one version"
    names = _uuids(nvml), _uuids(smi.gpus)
    if names[0] and names[1] and names[0] != names[1]:
        count = f"{len(nvml)} GPUs by NVML, {len(smi.gpus)} by nvidia-smi"
        yield f"{count}, not the same ones", "the same GPUs"
    if nvml and smi.status in _SMI_FAILURES:
        said = smi.message or f"status {smi.status}"
        yield f"{len(nvml)} GPUs by NVML, and nvidia-smi says `{said}`", "the same GPUs"
    if in_cuda(host) and host.nvml.init and host.nvml.init not in _NVML_SILENT:
        said = host.nvml.init_name or f"error {host.nvml.init}"
        yield f"CUDA works, and NVML says `{said}`", "both work"
    if (fewer := _fewer_in_cuda(host)) is not None:
        yield fewer, "the same number of GPUs"


def _uuids(states: tuple[GpuState, ...]) -> set[str]:
    """Empty where one is not told."""
    found = {state.uuid for state in states if state.uuid}
    return found if len(found) == len(states) else set()


def _fewer_in_cuda(host: HostFacts) -> str | None:
    """MIG and CUDA_VISIBLE_DEVICES make CUDA list fewer by right."""
    nvml, cuda = in_nvml(host), in_cuda(host)
    by_right = "CUDA_VISIBLE_DEVICES" in host.variables or any(state.mig for state in nvml)
    if by_right or not cuda or len(cuda) >= len(nvml):
        return None
    return f"{len(nvml)} GPUs by NVML, and CUDA can use {len(cuda)}"


# --- what the others stand on ---------------------------------------------------------------


def _start(subject: Subject) -> tuple[HostFacts, int | None]:
    """The machine, and what cuInit returned."""
    wants_gpu(subject)
    host = present(subject)
    return host, host.cuda.init


def _init_failed(host: HostFacts, message: str, remedy: str) -> Finding:
    name = f" ({host.cuda.init_name})" if host.cuda.init_name else ""
    return Finding(
        message=f"{message}{name}",
        seen=f"cuInit returned {host.cuda.init}{name}",
        expected="cuInit returns 0",
        remedy=remedy,
    )
