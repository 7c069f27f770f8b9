"""Who holds memory of each GPU, and what their allocators could give back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envforge.model.finding import Finding

Use = Literal["busy", "idle", "unknown"]
"""`idle`: it ran nothing on the GPU while we watched; `unknown`: the driver does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatorMemory:
    """What PyTorch's caching allocator of one process holds on one device, in bytes.

    Words as in PyTorch's "CUDA semantics", "Memory management".
    """

    device: int
    """Its ordinal in that process, after CUDA_VISIBLE_DEVICES."""
    uuid: str = ""
    """`GPU-…`; empty: that torch does not tell."""
    allocated: int
    """In live tensors."""
    reserved: int
    """Taken from the driver."""
    releasable: int
    """Of what is reserved and not allocated: what `torch.cuda.empty_cache()` gives back."""
    peak_allocated: int = 0
    peak_reserved: int = 0
    retries: int = 0
    """How often it had to empty its cache to go on."""
    segments: int = 0

    @property
    def cached(self) -> int:
        """Reserved, and in no tensor."""
        return self.reserved - self.allocated

    @property
    def stuck(self) -> int:
        """Cached, and not to be given back: it lies between live tensors."""
        return max(0, self.cached - self.releasable)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    """A process of this machine, as `/proc` tells."""

    pid: int
    uid: int
    user: str
    program: str
    """Its name, and of an interpreter the script's; never arguments, which may be private."""
    state: str = "S"
    """`R`, `S`, `D`, `T`, `Z` … (proc(5))."""
    parent: int = 0
    age: float | None = None
    """Seconds since it was started."""
    cpu: float | None = None
    """Percent of one processor that it used while we watched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that holds memory of one GPU."""

    pid: int
    memory_bytes: int | None
    """As the driver counts: tensors, cache, context and libraries. None: it does not tell."""
    use: Use = "unknown"
    percent: int | None = None
    """Of the time that its kernels ran; None: not told."""
    process: ProcessFacts | None = None
    """None: it is not in sight from here, as one in another container."""
    program: str = ""
    """The driver's word for it, where `/proc` has none."""
    allocator: AllocatorMemory | None = None
    """None: it was not asked, or does not tell (`why_not`)."""
    why_not: str = ""

    @property
    def user(self) -> str:
        """Whose it is; empty: not known."""
        return self.process.user if self.process else ""

    @property
    def name(self) -> str:
        """Its program; empty: not known."""
        return self.process.program if self.process else self.program


@dataclass(frozen=True, slots=True, kw_only=True)
class UserShare:
    """What the processes of one user hold, on one GPU or on all."""

    user: str
    """Empty: processes that are not in sight."""
    processes: int
    memory_bytes: int
    idle_bytes: int
    """Of that, by processes that use no GPU."""
    telling: int = 0
    """How many of the processes tell what their allocators hold; the rest is of these."""
    allocated: int = 0
    reserved: int = 0
    releasable: int = 0

    @property
    def cached(self) -> int:
        """Reserved, and in no tensor."""
        return self.reserved - self.allocated


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    """One GPU; bytes that are None are not told."""

    index: int
    """As NVML and nvidia-smi count, whatever CUDA_VISIBLE_DEVICES says."""
    name: str
    uuid: str = ""
    total: int | None = None
    free: int | None = None
    driver_reserved: int | None = None
    """What the driver keeps for itself."""
    busy: int | None = None
    """Percent of the time in which a kernel ran."""
    is_cut: bool = False
    """Whether MIG is on."""
    holders: tuple[Holder, ...] | None = None
    """The largest first; None: the driver does not tell."""
    users: tuple[UserShare, ...] = ()
    error: str = ""
    """The driver's words for why the rest is not known."""

    @property
    def unaccounted(self) -> int | None:
        """Used, and by none of the processes that are listed; None: not known."""
        if self.total is None or self.free is None or self.holders is None:
            return None
        shares = [item.memory_bytes for item in self.holders]
        if any(share is None for share in shares):
            return None
        used = self.total - self.free - (self.driver_reserved or 0)
        return max(0, used - sum(share or 0 for share in shares))


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReport:
    """What `envforge gpu` saw."""

    driver: str | None
    """Its version; None: there is no NVIDIA driver here."""
    seconds: float
    """How long it was watched."""
    gpus: tuple[GpuMemory, ...] = ()
    problem: str = ""
    """Why the driver did not answer; empty: it did."""
    users: tuple[UserShare, ...] = ()
    """On all GPUs."""
    findings: tuple[Finding, ...] = ()
