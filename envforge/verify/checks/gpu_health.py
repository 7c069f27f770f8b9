"""Is each GPU well, and free for us? By what NVML tells, and by a context that was tried."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from envforge.model.finding import Finding, Severity
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.machine import NO_GPU, present, wants_gpu
from envforge.verify.checks.seen import BUSY, Seen, in_cuda, in_nvml, in_use
from envforge.verify.facts import GpuProcess, GpuState, HostFacts, Subject
from envforge.verify.facts.driver import uuid_key

_OUT_OF_MEMORY: Final = 2
_ECC: Final = 214
_ECC_WORDS: Final = "uncorrectable ECC error"
_BROKEN: Final = (8, 10, 11, 15, 16, 999)
"""NVML: no power cable, no answer, no interrupts, lost, reset needed, unknown."""
_RESET: Final = 16
_FULL: Final = 512 * 2**20
"""Bytes without which nothing runs: a context and the libraries' kernels take about this."""
_LITTLE: Final = 0.2
"""Share of the memory below which it is worth a word."""
_MPS_SERVER: Final = "nvidia-cuda-mps-server"
_WORDS: Final = {
    "hw-slowdown": "slowed down by the hardware",
    "hw-thermal": "too hot (hardware slowdown)",
    "sw-thermal": "too hot",
    "hw-power-brake": "told by the power supply to slow down",
}
_ON_SWITCHES: Final = ("SXM", "HGX", "HBM3")


@check(
    level="static",
    needs=("host",),
    symptom="GPU is lost; Unable to determine the device handle; CUDA error: unknown error",
    why="programs that touch this GPU fail or hang, and often those on its neighbours",
    source="NVML API reference, nvmlReturn_t; NVIDIA XID errors, 79",
    cause="The GPU fell off the bus or stopped answering its driver: power, heat, a riser or"
    " cable, firmware, or a fault of the board.",
    fix="Read the Xid lines of `dmesg`; reset the GPU or power the machine off and on; if it comes"
    " back, have the board looked at.",
)
def gpu_error(subject: Subject) -> Iterator[Finding]:
    """Every GPU answers its driver."""
    wants_gpu(subject)
    host = present(subject)
    if not (in_nvml(host) or in_cuda(host)):
        raise CannotLook(NO_GPU)
    chosen = "CUDA_VISIBLE_DEVICES" in host.variables and bool(host.usable_gpus)
    for state in in_nvml(host):
        if state.error_code in _BROKEN:
            yield _broken(
                Seen(state=state), state.error, state.error_code, "warning" if chosen else "error"
            )
    for state in in_cuda(host):
        if state.error:
            yield _broken(Seen(state=state), state.error, None, "error")
    for seen in in_use(host):
        if (said := _refused(seen)) is not None:
            yield _broken(seen, said, None, "error")


def _refused(seen: Seen) -> str | None:
    """What came of making a context, unless another check has a better name for it."""
    cuda = seen.cuda
    if cuda is None or not cuda.context_ended:
        return None
    if cuda.context is None:
        if cuda.context_ended == "done":  # this libcuda cannot be asked
            return None
        return f"no end to making a context ({cuda.context_ended})"
    explained = {0, _OUT_OF_MEMORY, _ECC}
    if _is_exclusive(seen.state) or seen.state.is_virtual:
        explained.add(BUSY)
    if cuda.context in explained:
        return None
    return f"no context can be made: {cuda.context_name or f'CUDA error {cuda.context}'}"


def _broken(seen: Seen, said: str, code: int | None, severity: Severity) -> Finding:
    place = seen.state.bus_id or seen.state.index
    reset = "" if code != _RESET else f"sudo nvidia-smi --gpu-reset -i {place}; else "
    return Finding(
        message=f"{seen.label} does not work: {said}",
        seen=said,
        expected="a GPU that answers",
        remedy=f"{reset}look for `Xid` in `sudo dmesg`, then reboot, or leave this GPU out with"
        " CUDA_VISIBLE_DEVICES",
        severity=severity,
    )


@check(
    level="static",
    needs=("host",),
    symptom="RuntimeError: CUDA error: uncorrectable ECC error encountered",
    why="programs on this GPU are ended, or read memory that is wrong",
    source="NVIDIA GPU Memory Error Management; vllm-project/vllm#5222",
    cause="Cells of the GPU's memory are faulty. The driver takes such rows out of use, which"
    " needs a reset to come into force, and there is a limited number of spare rows.",
    fix="Reset the GPU or reboot where a remapping is pending; have the board replaced where it"
    " failed or errors come back.",
    after=("gpu-error",),
)
def ecc_uncorrectable_row_remap(subject: Subject) -> Iterator[Finding]:
    """The memory of every GPU is sound."""
    seen_gpus = _gpus(subject)
    if not any(_tells_errors(seen) for seen in seen_gpus):
        raise CannotLook("no GPU here tells memory errors")
    for seen in seen_gpus:
        if (found := _memory_fault(seen)) is not None:
            message, remedy = found
            yield Finding(
                message=f"{seen.label}: {message}",
                seen=_counters(seen.state),
                expected="no uncorrected error, and no row waiting to be remapped",
                remedy=remedy,
            )


def _tells_errors(seen: Seen) -> bool:
    told = (seen.state.ecc_uncorrected, seen.state.remap_pending, seen.state.remap_failed)
    tried = seen.context is not None or bool(seen.said)
    return tried or any(item is not None for item in told)


def _memory_fault(seen: Seen) -> tuple[str, str] | None:
    """Sentence and remedy."""
    state = seen.state
    reset = f"sudo nvidia-smi --gpu-reset -i {state.bus_id or state.index}, or reboot"
    if state.remap_failed:
        return (
            "faulty memory could not be taken out of use, for want of spare rows",
            "take this GPU out of use, and have it replaced",
        )
    if state.remap_pending:
        return "faulty memory waits for a reset to be taken out of use", reset
    if state.ecc_uncorrected:
        return "its memory had errors that ECC could not correct", reset
    if seen.context == _ECC or _ECC_WORDS in seen.said:
        return "CUDA stops for a memory error that ECC could not correct", reset
    return None


def _counters(state: GpuState) -> str:
    words = [f"{state.ecc_uncorrected or 0} uncorrected errors since the driver was loaded"]
    words += ["remapping pending"] if state.remap_pending else []
    words += ["remapping failed"] if state.remap_failed else []
    return ", ".join(words)


@check(
    level="static",
    needs=("host",),
    symptom="CUDA error: CUDA-capable device(s) is/are busy or unavailable (46)",
    why="a GPU in this mode takes one process, or none",
    source="nvidia-smi manual, compute mode; pytorch/pytorch#3871",
    cause="The administrator set the compute mode to exclusive, and another process holds the"
    " GPU; or set it to prohibited, which refuses every process.",
    fix="Wait for the process that holds it, take another GPU, share it through MPS, or have the"
    " mode set to default.",
    after=("gpu-error",),
)
def exclusive_process_mode(subject: Subject) -> Iterator[Finding]:
    """No GPU is closed to us by its compute mode."""
    gpus = _gpus(subject)
    if all(seen.state.compute_mode is None for seen in gpus):
        raise CannotLook("NVML does not tell compute modes")
    closed = [seen for seen in gpus if _is_closed(seen)]
    for seen in closed:
        holders = _holders(seen.state)
        yield Finding(
            message=f"{seen.label} is in compute mode {seen.state.compute_mode}"
            + (f", and {holders} holds it" if holders else ""),
            seen=f"compute mode {seen.state.compute_mode}; "
            + (
                f"a context is refused ({seen.context})"
                if seen.context
                else holders or "no process"
            ),
            expected="compute mode default, or nobody else on it",
            remedy=_other_gpu(gpus, closed)
            or f"wait for it to be free, or sudo nvidia-smi -i {seen.state.index} -c DEFAULT",
            severity="error" if len(closed) == len(gpus) else "warning",
        )


def _is_exclusive(state: GpuState) -> bool:
    return state.compute_mode in {"exclusive-process", "exclusive-thread", "prohibited"}


def _is_closed(seen: Seen) -> bool:
    state = seen.state
    if state.compute_mode == "prohibited":
        return True
    if not _is_exclusive(state):
        return False
    if seen.is_busy or seen.context == 0:
        return seen.is_busy
    others = [item for item in state.processes or () if item.name != _MPS_SERVER]
    return seen.context is None and bool(others) and len(others) == len(state.processes or ())


def _holders(state: GpuState) -> str:
    return ", ".join(_process(item) for item in (state.processes or ())[:3])


def _process(item: GpuProcess) -> str:
    return f"process {item.pid} ({item.name})" if item.name else f"process {item.pid}"


@check(
    level="static",
    needs=("host",),
    symptom="CUDA error 46, or a crawl, on a virtual GPU some minutes after boot",
    why="a virtual GPU without a licence is slowed down, then refuses CUDA",
    source="NVIDIA vGPU software, Virtual GPU Client Licensing User Guide; Azure/AKS#4870",
    cause="The guest system has no licence for its virtual GPU: no token or server is set up, or"
    " the server cannot be reached.",
    fix="Put the client token where the guest's licensing service looks for it, and restart"
    " nvidia-gridd.",
    after=("gpu-error",),
)
def vgpu_unlicensed(subject: Subject) -> Iterator[Finding]:
    """Every virtual GPU has its licence."""
    host = _host(subject)
    virtual = [seen for seen in _gpus(subject) if seen.state.is_virtual]
    if not virtual:
        raise NotApplicable("no GPU here is virtual")
    told = {id(seen): _license(host, seen.state) for seen in virtual}
    refused = [seen for seen in virtual if seen.is_busy]
    if not refused and all(item is None for item in told.values()):
        raise CannotLook("nobody tells whether the virtual GPU is licensed")
    for seen in virtual:
        license_ = told[id(seen)]
        if license_ == "unlicensed" or (license_ is None and seen in refused):
            yield Finding(
                message=f"{seen.label} is a virtual GPU"
                + (
                    " without a licence" if license_ else " that refuses work, as without a licence"
                ),
                seen=f"licence: {license_ or 'not told'}"
                + ("; a context is refused (46)" if seen in refused else ""),
                expected="licence: licensed",
                remedy="put the token into /etc/nvidia/ClientConfigToken/, then"
                " sudo systemctl restart nvidia-gridd",
            )


def _license(host: HostFacts, state: GpuState) -> str | None:
    by_smi = dict(reversed(host.smi.licenses))
    said = state.license or by_smi.get(state.bus_id) or by_smi.get(None)
    if said is None and state.bus_id is None and len(by_smi) == 1:
        return next(iter(by_smi.values()))  # this NVML does not tell where the GPU is
    return said


@check(
    level="static",
    needs=("host",),
    symptom="CUDA out of memory at the first allocation, with little reserved by PyTorch",
    why="there is no room for a model beside what is there already",
    source="NVIDIA/gpu-operator#2880, nianticlabs/monodepth2#236",
    cause="Another process holds the memory: another job, a notebook left open, a worker that"
    " outlived its parent, or a program in another container that cannot be seen from here.",
    fix="End what holds it, or take another GPU.",
    after=("gpu-error", "ecc-uncorrectable-row-remap"),
)
def memory_already_used(subject: Subject) -> Iterator[Finding]:
    """Every GPU has most of its memory free."""
    gpus = [(seen, room) for seen in _gpus(subject) if (room := _room(seen)) is not None]
    if not gpus:
        raise CannotLook("NVML does not tell free memory")
    short = [(seen, free, total) for seen, (free, total) in gpus if _is_short(seen, free, total)]
    tight = [seen for seen, *_ in short]
    for seen, free, total in short:
        is_full = free < _FULL or seen.context == _OUT_OF_MEMORY
        yield Finding(
            message=f"{seen.label} has {_size(free)} of {_size(total)} free: {_by_whom(seen)}",
            seen=f"{_size(total - free)} of {_size(total)} are used",
            expected="memory free for us",
            remedy=_other_gpu([item for item, _ in gpus], tight) or _end(seen),
            severity="error" if is_full and len(tight) == len(gpus) else "warning",
        )


def _room(seen: Seen) -> tuple[int, int] | None:
    """Free and total bytes; of a GPU that is cut up, only a slice's count."""
    if seen.part is None and seen.state.mig:
        return None
    place = seen.part or seen.state
    if place.free_bytes is None or not place.memory_bytes:
        return None
    return place.free_bytes, place.memory_bytes


def _is_short(seen: Seen, free: int, total: int) -> bool:
    return free < _FULL or free < _LITTLE * total or seen.context == _OUT_OF_MEMORY


def _by_whom(seen: Seen) -> str:
    processes = seen.state.processes
    if seen.part is None and processes:
        largest = sorted(processes, key=lambda item: -(item.memory_bytes or 0))
        listed = [
            _process(item) + (f" {_size(item.memory_bytes)}" if item.memory_bytes else "")
            for item in largest[:3]
        ]
        more = f" and {len(processes) - 3} more" if len(processes) > 3 else ""
        return ", ".join(listed) + more
    if processes is None or seen.part is not None:
        return "another process holds the rest"
    return "another container holds the rest, or a process that was left over"


def _end(seen: Seen) -> str:
    pids = [str(item.pid) for item in seen.state.processes or () if item.name]
    if pids and seen.part is None:
        return f"kill {' '.join(pids[:3])}, if they are yours and not needed"
    return (
        f"sudo fuser -v /dev/nvidia{seen.state.index}, on the machine itself, shows what holds it"
    )


def _other_gpu(gpus: list[Seen], closed: list[Seen]) -> str | None:
    """A command that takes another GPU; None: there is none."""
    free = next((seen for seen in gpus if seen not in closed), None)
    if free is None:
        return None
    named = (free.part.uuid if free.part else None) or free.state.uuid
    return f"export CUDA_VISIBLE_DEVICES={shlex.quote(named or str(free.state.index))}"


def _size(number: int) -> str:
    if number < 2**30:
        return f"{number / 2**20:.0f} MiB"
    return f"{number / 2**30:.1f} GiB"


@check(
    level="static",
    needs=("host",),
    severity="warning",
    symptom="the same training takes much longer on one machine or one GPU",
    why="the clocks are held down, and everything waits for the slowest GPU",
    source="NVML API reference, clocks event reasons",
    cause="The GPU or its power supply is at its limit: heat, a fan or a filter, a power cable, a"
    " chassis that asks all boards to slow down.",
    fix="Look at temperature and power, and at the machine's cooling and cables.",
    after=("gpu-error",),
)
def gpu_throttled(subject: Subject) -> Iterator[Finding]:
    """No GPU is slowed down by heat or want of power."""
    for seen in _gpus(subject):
        if seen.state.throttle:
            words = ", ".join(_WORDS.get(item, item) for item in seen.state.throttle)
            yield Finding(
                message=f"{seen.label} runs slowly: {words}",
                seen=", ".join(seen.state.throttle),
                expected="clocks that only idleness and settings lower",
                remedy=f"nvidia-smi -q -d TEMPERATURE,POWER,PERFORMANCE -i {seen.state.index}",
            )


@check(
    level="static",
    needs=("host",),
    severity="warning",
    symptom="NCCL is slow, or falls back to PCIe, on some GPUs of a machine",
    why="traffic between GPUs goes the slow way",
    source="NVIDIA Fabric Manager User Guide; NVML API reference, NVLink",
    cause="An NVLink is down: a bridge or board that does not sit well, an error that took the"
    " link out of use, a fabric manager that left it out.",
    fix="Reset the GPUs or reboot; if it stays, have the bridge or board looked at.",
    after=("gpu-error", "fabric-not-ready-802"),
)
def nvlink_down(subject: Subject) -> Iterator[Finding]:
    """Every GPU has as many NVLinks up as its neighbours of the same model."""
    gpus = [seen for seen in _gpus(subject) if seen.state.links_total]
    if not gpus:
        raise NotApplicable("no GPU here has NVLink")
    for seen in gpus:
        most = max(g.state.links_active or 0 for g in gpus if g.state.name == seen.state.name)
        active = seen.state.links_active or 0
        # A board without a bridge has none up and nothing wrong.
        if active < most and (active or _is_on_switches(seen.state)):
            yield Finding(
                message=f"{seen.label} has {active} NVLinks up, and others of its kind {most}",
                seen=f"{active} of {seen.state.links_total} links up",
                expected=f"{most} links up",
                remedy=f"nvidia-smi nvlink --status -i {seen.state.index}; then reset the GPUs or"
                " reboot",
            )


def _is_on_switches(state: GpuState) -> bool:
    has_fabric = state.fabric not in {None, "not-supported"}
    return has_fabric or any(word in state.name for word in _ON_SWITCHES)


def _host(subject: Subject) -> HostFacts:
    wants_gpu(subject)
    return present(subject)


def _gpus(subject: Subject) -> list[Seen]:
    """Those that programs here use. Raises CannotLook where NVML does not answer."""
    host = _host(subject)
    if not in_nvml(host):
        raise CannotLook("NVML lists no GPU")
    return [replace(seen, said=_said(subject, seen)) for seen in in_use(host)]


def _said(subject: Subject, seen: Seen) -> str:
    """What torch said when it failed on this GPU."""
    if subject.probe is None:
        return ""
    words = list(subject.probe.torch.warnings) if subject.probe.torch else []
    for run in subject.probe.gpus:
        shown = run.visible and uuid_key(run.visible)
        cuda = seen.cuda
        if cuda is None or (
            shown == cuda.uuid_key if shown else run.device == f"cuda:{cuda.index}"
        ):
            words.append(run.ending.message)
    return "\n".join(words)
