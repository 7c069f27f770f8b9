"""Which GPUs the witnesses list, which of them are the same, and which can be used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from envforge.verify.facts import GpuState, HostFacts, LibraryAnswer, MigSlice
from envforge.verify.facts.driver import uuid_key

BUSY: Final = 46
"""CUDA_ERROR_DEVICE_UNAVAILABLE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One GPU, or one slice, that programs started here would use."""

    state: GpuState
    """As NVML tells, else as libcuda does."""
    cuda: GpuState | None = None
    """The same as libcuda lists it; None: it does not, or they could not be matched."""
    part: MigSlice | None = None
    """The slice that is used of it."""
    said: str = ""
    """torch's words about it, where it was tried and failed."""

    @property
    def label(self) -> str:
        """`GPU 0 (NVIDIA H200)`, numbered as nvidia-smi numbers."""
        name = self.state.name or (self.cuda.name if self.cuda else "")
        return f"GPU {self.state.index} ({name})" if name else f"GPU {self.state.index}"

    @property
    def is_busy(self) -> bool:
        """Whether a context was refused, by libcuda's code or by torch's words for it."""
        return self.context == BUSY or "busy or unavailable" in self.said

    @property
    def context(self) -> int | None:
        """What making a context gave; None: not tried, or no end to it."""
        return self.cuda.context if self.cuda else None


def listed(answer: LibraryAnswer) -> tuple[GpuState, ...]:
    """The devices a library listed, those with errors included."""
    if answer.states:
        return answer.states
    return tuple(
        GpuState(
            index=index,
            name=gpu.name,
            capability=gpu.capability,
            memory_bytes=gpu.memory_bytes,
        )
        for index, gpu in enumerate(answer.gpus)
    )


def in_cuda(host: HostFacts) -> tuple[GpuState, ...]:
    """The devices of libcuda, where it started."""
    return listed(host.cuda) if host.cuda.init == 0 else ()


def in_nvml(host: HostFacts) -> tuple[GpuState, ...]:
    """The devices of NVML, where it started."""
    return listed(host.nvml) if host.nvml.init == 0 else ()


def in_use(host: HostFacts) -> list[Seen]:
    """The GPUs that CUDA programs see here; every GPU where that cannot be told."""
    ours, all_of_them = in_cuda(host), in_nvml(host)
    if not all_of_them:
        return [Seen(state=item, cuda=item) for item in ours]
    matched = [seen for item in ours if (seen := _find(item, all_of_them)) is not None]
    if matched:
        return matched
    if len(ours) == len(all_of_them):  # identities that are not told, or cannot be compared
        by_number = zip(all_of_them, ours, strict=True)
        return [Seen(state=state, cuda=item) for state, item in by_number]
    return [Seen(state=item) for item in all_of_them]


def _find(wanted: GpuState, states: tuple[GpuState, ...]) -> Seen | None:
    for state in states:
        part = next((p for p in state.slices if uuid_key(p.uuid) == wanted.uuid_key), None)
        if part is not None or is_same(wanted, state):
            return Seen(state=state, cuda=wanted, part=part)
    return None


def is_same(one: GpuState, other: GpuState) -> bool:
    """Whether two witnesses speak of one GPU; False where they give no identity to compare."""
    if one.uuid and other.uuid and one.uuid_key == other.uuid_key:
        return True
    return one.bus_id is not None and one.bus_id == other.bus_id


def are_comparable(ours: Iterable[GpuState], theirs: Iterable[GpuState]) -> bool:
    """Whether two witnesses tell which GPU is which, so that differences mean something."""
    others = list(theirs)
    return any(is_same(one, other) for one in ours for other in others)
