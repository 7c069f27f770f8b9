"""What the environment's own interpreter found (`verify/probe.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from envforge.model.cuda import ComputeCapability
from envforge.model.finding import Level


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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRun:
    """What one device did, in a child of its own."""

    device: str
    """`cpu`, `cuda:0`."""
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
    torch: TorchRun | None = None
    devices: tuple[DeviceRun, ...] = ()

    @property
    def gpus(self) -> tuple[DeviceRun, ...]:
        """The devices that are GPUs."""
        return tuple(item for item in self.devices if item.device.startswith("cuda"))
