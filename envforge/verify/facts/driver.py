"""What the driver's witnesses said: libcuda, NVML and nvidia-smi, each asked in a child."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from envforge.model.cuda import ComputeCapability
from envforge.model.machine import Gpu

_PROFILE: Final = re.compile(r"-\d+[ABCQ]$")
"""`GRID A100D-16C`, `NVIDIA A16-8Q`, `NVIDIA A100-1-5C`."""
_LIBRARY_FILE: Final = re.compile(r"\.so\.(\d{3,}\.\d+(?:\.\d+)?)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that holds memory of a GPU."""

    pid: int
    memory_bytes: int | None = None
    name: str = ""
    """Program's file name; empty: no such process in sight, as for those of another container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUsage:
    """Who used a GPU while it was watched."""

    seconds: float
    busy: int | None = None
    """Most percent of the time in which a kernel ran; None: not told, as where MIG is on."""
    processes: tuple[tuple[int, int], ...] | None = None
    """Process and its percent; who is not in it did not use it. None: not told."""
    reserved_bytes: int | None = None
    """What the driver keeps for itself; None: an older driver, which does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigSlice:
    """One MIG device, as NVML lists it."""

    uuid: str
    name: str = ""
    memory_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """One GPU as one witness sees it. None: this witness does not tell."""

    index: int
    name: str = ""
    uuid: str | None = None
    """`GPU-…`, the same for libcuda, NVML and nvidia-smi; a slice's is `MIG-…`, which libcuda
    does not tell apart. Compare by `uuid_key`."""
    bus_id: str | None = None
    """`0000:17:00.0`, lower case."""
    capability: ComputeCapability | None = None
    memory_bytes: int | None = None
    free_bytes: int | None = None
    context: int | None = None
    """libcuda: code of retaining the primary context; None: not tried, or it never returned."""
    context_name: str = ""
    context_ended: str = ""
    """How the child ended that tried it, as in `LibraryAnswer.ended`; empty: not tried."""
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
    """`not-supported`, `not-started`, `in-progress`, `completed`, or `failed`."""
    virtual: bool | None = None
    """Whether it is a vGPU, by NVML; passed through whole is not virtual."""
    license: str | None = None
    """vGPU guests: `licensed` or `unlicensed`."""
    usage: GpuUsage | None = None
    """None: it was not watched."""
    error: str = ""
    """The witness's words for why the rest is not known."""
    error_code: int | None = None

    @property
    def is_virtual(self) -> bool:
        """Whether it is a vGPU: as NVML tells, else by the profile at the end of its name."""
        return self.virtual if self.virtual is not None else bool(_PROFILE.search(self.name))

    @property
    def uuid_key(self) -> str | None:
        """The hexadecimal part of the UUID, the same for all witnesses."""
        return uuid_key(self.uuid) if self.uuid else None


def uuid_key(uuid: str) -> str:
    """`8932f937-…` of `GPU-8932f937-…` and `MIG-8932f937-…`, in lower case."""
    return uuid.partition("-")[2].lower()


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
    licenses: tuple[tuple[str | None, str], ...] = ()
    """Of virtual GPUs: bus id (None: not said which) and `licensed` or `unlicensed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricFiles:
    """What the machine's files tell of NVSwitch; looked at where cuInit answers 802."""

    nvswitch: bool = False
    """Whether switches are in sight: device nodes, `/proc`, or on the PCI bus."""
    manager_running: bool | None = None
    """Whether nv-fabricmanager runs; None: processes are hidden from here."""
    manager_version: str | None = None
    """Of the installed package; None: none is installed, or it does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MpsPipe:
    """The folder through which CUDA programs reach the MPS daemon."""

    folder: str
    """`CUDA_MPS_PIPE_DIRECTORY`, or `/tmp/nvidia-mps` where that is not set and exists."""
    asked: bool
    """Whether the variable is set."""
    control: bool = False
    """Whether the daemon's control socket is there."""
    foreign: bool = False
    """Whether it belongs to another user, who is not root."""


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
    on_disk: str | None = None
    """Version of the file that the machine's library folders hold, whatever was loaded."""
    states: tuple[GpuState, ...] = ()
    """Every device it listed, with all it tells; also those that answered with an error."""
    gpus: tuple[Gpu, ...] = ()
    """libcuda: those that CUDA_VISIBLE_DEVICES leaves. NVML: all."""

    @property
    def works(self) -> bool:
        """Whether it could be started and answered to the end."""
        return self.init == 0 and self.ended == "done"

    @property
    def loaded_version(self) -> str | None:
        """`535.104.05` of the loaded file's name; None: it names none."""
        return file_version(self.library or "")


def file_version(path: str) -> str | None:
    """The driver version at the end of a library's file name, `libcuda.so.535.104.05`."""
    found = _LIBRARY_FILE.search(path)
    return found[1] if found else None
