"""What the environment's own interpreter found (`verify/probe.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from envforge.model.cuda import ComputeCapability
from envforge.model.finding import Level

_OPENMP: Final = ("libgomp", "libiomp5", "libomp.so", "libomp-", "libomp5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a child of the probe ended."""

    ended: str = "done"
    """`done`, `error` (an exception), `timeout`, `signal N` or `status N`."""
    stage: str = ""
    """What it had last begun."""
    message: str = ""
    """Type and message of the exception."""
    trace: str = ""
    """End of the traceback, or of what was printed before a crash."""

    @property
    def is_good(self) -> bool:
        """Whether it came to its end."""
        return self.ended == "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRun:
    """What the import of one module did, in a child of its own."""

    name: str
    ending: Ending = field(default_factory=Ending)
    seconds: float | None = None
    warnings: tuple[str, ...] = ()
    """`UserWarning: …`, apart from those that are for programmers."""
    version: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NumpyRun:
    """Whether torch and NumPy can exchange an array, in one process."""

    version: str | None = None
    """None: NumPy itself could not be imported."""
    file: str | None = None
    bridge: bool | None = None
    """Whether an array went there and back unchanged; None: that raised `error`."""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchRun:
    """What torch tells once it is imported."""

    ending: Ending = field(default_factory=Ending)
    version: str | None = None
    """None: the import did not succeed."""
    file: str | None = None
    cuda: str | None = None
    hip: str | None = None
    cudnn_compiled: str | None = None
    cudnn_loaded: str | None = None
    cudnn_error: str | None = None
    nccl: str | None = None
    architectures: tuple[str, ...] = ()
    """As torch spells them: `sm_80`, `compute_90`."""
    libraries: tuple[str, ...] = ()
    """Paths of the shared objects that were mapped."""
    available: bool | None = None
    """is_available(); no verdict."""
    device_count: int | None = None
    warnings: tuple[str, ...] = ()
    """What is_available() warned of."""
    import_warnings: tuple[str, ...] = ()
    """What came with `import torch` and the first use of NumPy; see `ImportRun.warnings`."""
    output: str = ""
    """What the child printed: its beginning and its end."""
    seconds: float | None = None
    """What `import torch` took."""
    numpy: NumpyRun | None = None
    """None: NumPy is not installed, or torch did not get as far."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Top-level name to file of what `import torch` brought in, the standard library left out."""

    @property
    def openmp_runtimes(self) -> tuple[str, ...]:
        """Paths of the OpenMP runtimes that are mapped after torch and NumPy."""
        return tuple(p for p in self.libraries if p.rpartition("/")[2].startswith(_OPENMP))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One computation on a device, compared with what is right."""

    name: str
    """`matmul fp16`, `convolution`, `attention flash`, `PTX`."""
    right: bool | None = None
    """None: it was not tried, or gave no result."""
    worst: float | None = None
    """Largest error as a share of the bound that the number format sets; None: not a number."""
    error: str = ""
    """Type and message of what it raised."""
    skipped: str = ""
    """Why it was not tried."""
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One way of copying memory."""

    name: str
    """`host to device, pinned`."""
    right: bool | None = None
    """Whether all that was sent arrived; None: it raised `error`."""
    gigabytes_per_second: float | None = None
    """10⁹ bytes; the best of three."""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Bytes of a GPU's memory; None: torch did not tell."""

    free: int | None = None
    total: int | None = None
    allocated: int | None = None
    """By tensors that live."""
    reserved: int | None = None
    """Held by torch's allocator, `allocated` included."""
    most_allocated: int | None = None
    most_reserved: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRun:
    """What one device did, in a child of its own."""

    device: str
    """`cpu`, `cuda:0`."""
    visible: str | None = None
    """What was shown to the child, by its UUID: `GPU-…`, `MIG-…`; None: all, or a CPU."""
    ending: Ending = field(default_factory=Ending)
    name: str | None = None
    capability: ComputeCapability | None = None
    memory_bytes: int | None = None
    kernel_right: bool | None = None
    """Whether a kernel's result, read back, was exactly as computed; None: it never ran."""
    matmul_right: bool | None = None
    """Whether fp32 matmul was within the rounding error of fp32; None: it never ran."""
    matmul_error: float | None = None
    """Largest error as a share of the bound."""
    trials: tuple[Trial, ...] = ()
    """In the order in which they were run; the first is the fp32 matmul of above."""
    copies: tuple[Copy, ...] = ()
    copies_skipped: str = ""
    """Why nothing was copied."""
    before: DeviceMemory = field(default_factory=DeviceMemory)
    """Before the first tensor."""
    after: DeviceMemory = field(default_factory=DeviceMemory)
    """After the last one."""
    libraries: tuple[str, ...] = ()
    """Paths of the CUDA libraries that were mapped in the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileStep:
    """One process that used torch.compile."""

    ending: Ending = field(default_factory=Ending)
    right: bool | None = None
    """Whether the compiled function's result was right; None: there is none."""
    seconds: float | None = None
    """To compile, or to find it compiled, and to run."""
    skipped: str = ""
    """Why it was not tried."""
    hits: int = 0
    misses: int = 0
    bypasses: int = 0
    """How often torch's caches of compiled graphs were asked: found, not found, not usable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileRun:
    """torch.compile in two fresh processes, which share a cache that was empty at first."""

    device: str
    first: CompileStep = field(default_factory=CompileStep)
    second: CompileStep | None = None
    """None: the first did not get to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One process of a collective."""

    ending: Ending = field(default_factory=Ending)
    right: bool | None = None
    """Whether it got the sum of all ranks; None: nothing came."""
    seconds: float | None = None
    skipped: str = ""
    """Why it was not tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllReduce:
    """NCCL over all GPUs, a process for each."""

    ranks: tuple[Rank, ...]
    without_p2p: tuple[Rank, ...] = ()
    """The same with NCCL_P2P_DISABLE=1; empty: it was not needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFacts:
    """What the environment's own interpreter found."""

    level: Level
    failure: str | None = None
    """Why there is no document: the interpreter is missing, hung, crashed or said nothing."""
    python: str | None = None
    """Version."""
    executable: str | None = None
    prefix: str | None = None
    base_prefix: str | None = None
    """The same as `prefix`, unless it is a virtual environment."""
    include: str | None = None
    """Where Python.h has to be; None: the interpreter does not know."""
    path: tuple[str, ...] = ()
    """`sys.path`, as `python -I` has it."""
    user_site: str | None = None
    """The user's own site-packages, whether it exists or not; `-I` keeps it out."""
    torch: TorchRun | None = None
    ssl: ImportRun | None = None
    imports: tuple[ImportRun, ...] = ()
    """Modules that were imported after torch, in the order in which they were asked for."""
    imports_ending: Ending = field(default_factory=Ending)
    """How the process ended that imported torch for them."""
    devices: tuple[DeviceRun, ...] = ()
    compile: tuple[CompileRun, ...] = ()
    all_reduce: AllReduce | None = None

    @property
    def gpus(self) -> tuple[DeviceRun, ...]:
        """The devices that are GPUs."""
        return tuple(item for item in self.devices if item.device.startswith("cuda"))
