"""What the driver's witnesses said: libcuda, NVML and nvidia-smi, each asked in a child."""

from __future__ import annotations

from dataclasses import dataclass

from envforge.model.cuda import ComputeCapability
from envforge.model.machine import Gpu


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that holds memory of a GPU."""

    pid: int
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigSlice:
    """One MIG device, as NVML lists it."""

    uuid: str
    name: str = ""
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """One GPU as one witness sees it. None: this witness does not tell."""

    index: int
    name: str = ""
    uuid: str | None = None
    """`GPU-…`, the same for libcuda, NVML and nvidia-smi."""
    bus_id: str | None = None
    """`0000:17:00.0`, lower case."""
    capability: ComputeCapability | None = None
    memory_bytes: int | None = None
    free_bytes: int | None = None
    context: int | None = None
    """libcuda: code of retaining the primary context; None: not tried."""
    context_name: str = ""
    compute_mode: str | None = None
    """`default`, `exclusive-thread`, `prohibited` or `exclusive-process`."""
    mig: bool | None = None
    """Whether MIG mode is on."""
    slices: tuple[MigSlice, ...] = ()
    ecc: bool | None = None
    ecc_uncorrected: int | None = None
    """Volatile count, since the driver was loaded."""
    remap_pending: bool | None = None
    """Rows wait for a reset to be remapped."""
    remap_failed: bool | None = None
    throttle: tuple[str, ...] = ()
    """Reasons why clocks are held down, apart from idleness: `hw-slowdown`, `sw-thermal` …"""
    processes: tuple[GpuProcess, ...] | None = None
    links_active: int | None = None
    """NVLinks that are up; None: the GPU has none or does not tell."""
    links_total: int | None = None
    fabric: str | None = None
    """`not-supported`, `not-started`, `in-progress` or `completed`."""
    license: str | None = None
    """vGPU guests: `licensed` or `unlicensed`."""
    error: str = ""
    """Why the rest is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmiWitness:
    """What nvidia-smi said; a third witness, never the only one."""

    path: str | None = None
    """None: there is no such program on PATH."""
    status: int | None = None
    """Its exit status; None: it was not run, or did not end."""
    driver: str | None = None
    gpus: tuple[GpuState, ...] = ()
    message: str = ""
    """Its own words, where it failed."""
    confidential: bool | None = None
    """Whether confidential computing is on; None: not asked or not told."""
    ready: bool | None = None
    """Whether the GPUs were set ready after attestation; None as above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryAnswer:
    """What one of the driver's two libraries (libcuda, NVML) said."""

    library: str | None = None
    """Path the loader chose; None: it could not be loaded."""
    init: int | None = None
    """What its first call returned, 0 for success; None: it never returned."""
    init_name: str = ""
    """The code in the library's own words, `CUDA_ERROR_SYSTEM_NOT_READY`."""
    ended: str = "done"
    """`done`, `error`, `timeout`, `signal N` or `status N`: how the child ended that asked it."""
    stage: str = ""
    """What the child had last begun, `cuInit`."""
    driver: str | None = None
    """Driver version, NVML only."""
    version: int | None = None
    """Newest CUDA of the driver, 1000 times major plus 10 times minor."""
    absent: str = ""
    """The loader's words, where the library could not be loaded."""
    states: tuple[GpuState, ...] = ()
    """Every device it listed, with all it tells; also those that answered with an error."""
    gpus: tuple[Gpu, ...] = ()
    """libcuda: those that CUDA_VISIBLE_DEVICES leaves. NVML: all."""

    @property
    def works(self) -> bool:
        """Whether it could be started and answered to the end."""
        return self.init == 0 and self.ended == "done"
