"""Decides who holds memory of a GPU without using it, and what could be given back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from envforge.model.finding import Finding
from envforge.model.gpu_memory import (
    AllocatorMemory,
    GpuMemory,
    GpuReport,
    Holder,
    Use,
    UserShare,
)
from envforge.model.wording import listed

_GIB: Final = 2**30
HELD: Final = 256 * 2**20
"""Bytes below which a holder is not worth a word: a context alone takes about as much."""
_UNSEEN: Final = _GIB
"""Bytes used by nobody who is listed that are worth a word: drivers that do not tell what they
keep for themselves keep up to some hundred MB."""
_GIVEN_BACK: Final = _GIB
"""Bytes that a process could give back that are worth a word."""
_WORKING: Final = 20.0
"""Percent of a processor with which a process is at work, if not on the GPU: loading, say."""
_NOT_RUNNING: Final = {
    "T": "stopped",
    "t": "stopped by a debugger",
    "Z": "ended but for some of its threads",
}
_SERVICE: Final = "nvidia-cuda-mps-server"
"""Kernels of its clients run in its name (NVIDIA, Multi-Process Service)."""
_SOURCE: Final = "NVML, nvmlDeviceGetProcessUtilization; PyTorch, CUDA semantics"


def use_of(
    pid: int, busy: int | None, processes: Mapping[int, int] | None
) -> tuple[Use, int | None]:
    """`busy`, `idle` or `unknown`, and the percent of the time, where it is told.

    Args:
        pid: the process.
        busy: percent of the whole GPU.
        processes: percent by process; None: not told. Who is not in it did nothing.
    """
    if processes is not None:
        percent = processes.get(pid, 0)
        return ("busy" if percent else "idle"), percent
    return ("idle", 0) if busy == 0 else ("unknown", None)


def matched(
    told: Iterable[AllocatorMemory], gpu: GpuMemory, *, others: int
) -> AllocatorMemory | None:
    """What an allocator says of this GPU: by UUID, else where there is no other to be meant.

    Args:
        told: of all devices of the process.
        gpu: this one.
        others: on how many other GPUs the process holds memory.
    """
    devices = tuple(told)
    by_uuid = [item for item in devices if item.uuid and item.uuid.lower() == gpu.uuid.lower()]
    if by_uuid:
        return by_uuid[0]
    nameless = [item for item in devices if not item.uuid]
    return nameless[0] if len(nameless) == len(devices) == 1 and not others else None


def judged(report: GpuReport, *, uid: int) -> GpuReport:
    """With what each user holds, and what is worth a word.

    Args:
        report: what was seen.
        uid: who asks: root ends anybody's processes, others their own.
    """
    gpus = tuple(_summed(_served(gpu)) for gpu in report.gpus)
    findings = [item for gpu in gpus for item in _of_gpu(gpu, report.seconds, uid)]
    return replace(report, gpus=gpus, users=tuple(_users(gpus)), findings=tuple(findings))


def _served(gpu: GpuMemory) -> GpuMemory:
    """Where a service is at work for others, nobody can tell which of them uses the GPU."""
    holders = gpu.holders or ()
    if not any(_SERVICE in item.name and item.use != "idle" for item in holders):
        return gpu
    told = (
        replace(item, use="unknown", percent=None) if item.use == "idle" else item
        for item in holders
    )
    return replace(gpu, holders=tuple(told))


def _summed(gpu: GpuMemory) -> GpuMemory:
    return replace(gpu, users=tuple(_users([gpu])))


def _users(gpus: Iterable[GpuMemory]) -> list[UserShare]:
    holders = [item for gpu in gpus for item in gpu.holders or ()]
    by_user: dict[str, list[Holder]] = {}
    for item in holders:
        by_user.setdefault(item.user, []).append(item)
    shares = [_share(user, items) for user, items in by_user.items()]
    return sorted(shares, key=lambda item: (-item.memory_bytes, item.user))


def _share(user: str, holders: list[Holder]) -> UserShare:
    told = [item.allocator for item in holders if item.allocator]
    return UserShare(
        user=user,
        processes=len({item.pid for item in holders}),
        memory_bytes=sum(item.memory_bytes or 0 for item in holders),
        idle_bytes=sum(item.memory_bytes or 0 for item in holders if item.use == "idle"),
        telling=len({item.pid for item in holders if item.allocator}),
        allocated=sum(item.allocated for item in told),
        reserved=sum(item.reserved for item in told),
        releasable=sum(item.releasable for item in told),
    )


def _of_gpu(gpu: GpuMemory, seconds: float, uid: int) -> Iterator[Finding]:
    for holder in gpu.holders or ():
        if holder.process and holder.process.state in _NOT_RUNNING:
            yield _not_running(gpu, holder, uid)
        elif _is_idle(holder):
            yield _idle(gpu, holder, seconds, uid)
        if holder.allocator is not None:
            yield from _of_allocator(gpu, holder, holder.allocator)
    if (gpu.unaccounted or 0) >= _UNSEEN and not gpu.is_cut:
        yield _unseen(gpu)


def _is_idle(holder: Holder) -> bool:
    """Whether it holds memory worth a word, and works neither on the GPU nor beside it."""
    held = holder.memory_bytes is None or holder.memory_bytes >= HELD
    at_work = holder.process is not None and (holder.process.cpu or 0.0) >= _WORKING
    return held and holder.use == "idle" and not at_work


def _idle(gpu: GpuMemory, holder: Holder, seconds: float, uid: int) -> Finding:
    return Finding(
        check="memory-held-idle",
        message=f"{_who(holder)} holds {_size(holder.memory_bytes)} of GPU {gpu.index}"
        f" and did not use it in the {seconds:g} s that were watched",
        seen=f"{_size(holder.memory_bytes)}, no kernel{_since(holder)}",
        expected="memory that is held is used, or given back",
        why="nobody else can use it",
        remedy=_end(holder, uid),
        source=_SOURCE,
        severity="warning",
    )


def _not_running(gpu: GpuMemory, holder: Holder, uid: int) -> Finding:
    state = holder.process.state if holder.process else ""
    return Finding(
        check="memory-held-by-stopped",
        message=f"{_who(holder)} is {_NOT_RUNNING[state]} and holds"
        f" {_size(holder.memory_bytes)} of GPU {gpu.index}",
        seen=f"state {state}",
        expected="a process that holds memory runs",
        why="it will not use it, and nobody else can",
        remedy=_end(holder, uid, signal="-KILL "),
        source="proc(5), state",
        severity="warning",
    )


def _of_allocator(gpu: GpuMemory, holder: Holder, memory: AllocatorMemory) -> Iterator[Finding]:
    if memory.releasable >= _GIVEN_BACK:
        yield Finding(
            check="memory-cached",
            message=f"{_who(holder)} could give {_size(memory.releasable)} of GPU {gpu.index} back:"
            f" its allocator keeps {_size(memory.cached)} that no tensor uses",
            seen=f"{_size(memory.allocated)} allocated, {_size(memory.reserved)} reserved",
            expected="a cache that is small where others wait for memory",
            why="PyTorch keeps what it took, to be quick the next time",
            remedy="torch.cuda.empty_cache()  # in that program, when it has a pause",
            source="PyTorch, CUDA semantics, Memory management",
            severity="warning",
        )
    if memory.stuck >= max(_GIVEN_BACK, memory.reserved // 4):
        yield Finding(
            check="memory-fragmented",
            message=f"{_size(memory.stuck)} of what {_who(holder)} keeps of GPU {gpu.index}"
            " lie between live tensors: neither given back nor of use for large ones",
            seen=f"{_size(memory.allocated)} allocated, {_size(memory.reserved)} reserved,"
            f" {_size(memory.releasable)} could be given back",
            expected="less than a quarter lost between tensors",
            why="an allocation fails though enough is free in all",
            remedy="envforge env ENV --allocator expandable  # then start the program anew",
            source="PyTorch, CUDA semantics, Optimizing memory usage",
            severity="warning",
        )


def _unseen(gpu: GpuMemory) -> Finding:
    return Finding(
        check="memory-held-unseen",
        message=f"{_size(gpu.unaccounted)} of GPU {gpu.index} are used by no process that can be"
        " seen from here: another container, or one that was left over",
        seen=f"{_size((gpu.total or 0) - (gpu.free or 0))} used,"
        f" {len(gpu.holders or ())} processes in sight",
        expected="every byte belongs to somebody",
        why="nobody can be asked to give it back",
        remedy="sudo fuser -v /dev/nvidia[0-9]*  # on the machine itself",
        source=_SOURCE,
        severity="warning",
    )


# --- words ----------------------------------------------------------------------------------


def _who(holder: Holder) -> str:
    program = f" ({holder.name})" if holder.name else ""
    owner = f" of {holder.user}" if holder.user else ""
    return f"process {holder.pid}{program}{owner}"


def _end(holder: Holder, uid: int, *, signal: str = "") -> str:
    """A command; who does not run takes no signal but `-KILL`."""
    if holder.process is None:
        return f"ps -fp {holder.pid}  # on the machine itself: whose it is, to ask or to end it"
    if uid in {0, holder.process.uid}:
        return f"kill {signal}{holder.pid}  # if it is not needed"
    return f"sudo kill {signal}{holder.pid}  # ask {holder.user} first"


def _since(holder: Holder) -> str:
    age = holder.process.age if holder.process else None
    return "" if age is None else f", started {_age(age)} ago"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(number: int | None) -> str:
    if number is None:
        return "an unknown amount"
    return f"{number / _GIB:.1f} GiB" if number >= _GIB else f"{number / 2**20:.0f} MiB"


def in_short(report: GpuReport) -> dict[str, str]:
    """A row for each GPU, for a page that holds more than this."""
    return {f"GPU {gpu.index}": _row(gpu) for gpu in report.gpus}


def _row(gpu: GpuMemory) -> str:
    if gpu.error or gpu.total is None or gpu.free is None:
        return f"{gpu.name or 'unknown'}: {gpu.error or 'memory is not told'}"
    names = sorted({item.user for item in gpu.holders or () if item.user})
    by_whom = f", held by {listed(names, 4)}" if names else ""
    busy = "" if gpu.busy is None else f", busy {gpu.busy} %"
    return f"{gpu.name}, {_size(gpu.free)} of {_size(gpu.total)} free{by_whom}{busy}"
