"""What was found out, apart from any judgement: the machine, the prefix, the probe's run.

Adapters fill these in (`adapters.host_facts`, `adapters.prefix_facts`, `adapters.python_probe`),
tests build them by hand, checks only read them. A fact that is None or empty was not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from envforge.model.cuda import ComputeCapability
from envforge.model.finding import Level
from envforge.model.lock import LockedPackage, Target
from envforge.model.machine import Gpu, Machine
from envforge.model.prefix import InstalledPackage, PrefixState

Layer = Literal["lock", "host", "prefix", "probe"]
"""The four things a check may look at."""


# --- the machine ----------------------------------------------------------------------------


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
    gpus: tuple[Gpu, ...] = ()
    """libcuda: those that CUDA_VISIBLE_DEVICES leaves. NVML: all."""

    @property
    def works(self) -> bool:
        """Whether it could be started and answered to the end."""
        return self.init == 0 and self.ended == "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """The machine: driver, GPUs, and variables that change what gets loaded."""

    machine: Machine
    """The same in the terms of the matrix. `origin` tells a described machine from this one."""
    kernel_driver: str | None = None
    """Version of the kernel module by `/proc/driver/nvidia/version`."""
    cuda: LibraryAnswer = field(default_factory=LibraryAnswer)
    nvml: LibraryAnswer = field(default_factory=LibraryAnswer)
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those of `adapters.host_facts.VARIABLES` that are set."""
    pythonpath: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Folder of `PYTHONPATH` to the names of modules that lie in it."""

    @property
    def usable_gpus(self) -> tuple[Gpu, ...]:
        """GPUs that a CUDA program started here can use."""
        return self.cuda.gpus if self.cuda.works else ()


# --- the prefix -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchFiles:
    """What the files tell of torch, nothing imported."""

    package: str
    """Its folder, relative to the prefix."""
    version: str | None = None
    """`2.0.1`, with its local part where it has one (`2.13.0+cpu`)."""
    cuda: str | None = None
    """`11.8`; None: a build without CUDA."""
    hip: str | None = None
    xpu: str | None = None
    git: str | None = None
    has_cuda_library: bool = False
    """Whether libtorch_cuda is there."""
    problem: str | None = None
    """Why `version.py` says nothing; None: it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CudnnWitness:
    """One place of the prefix that names a cuDNN version."""

    version: str
    witness: str
    """Which place: `conda package cudnn`, `nvidia-cudnn-cu12`, `lib/libcudnn.so.9.10.2` …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedFile:
    """A file that is not as the package's manifest records it."""

    path: str
    recorded: int
    """Bytes by the manifest."""
    found: int | None
    """Bytes on disk; None: the file is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixFacts:
    """A prefix, read without running anything in it."""

    prefix: str
    real: str
    """The same with every link followed: what the loader shows."""
    state: PrefixState
    """Handed in by whoever knows the install marker."""
    conda: tuple[InstalledPackage, ...] = ()
    wheels: tuple[InstalledPackage, ...] = ()
    """Distributions that no conda package owns."""
    broken_metadata: tuple[str, ...] = ()
    """`conda-meta/x.json: not JSON`, `~orch: left by an interrupted pip`; one line each."""
    interpreter: str | None = None
    """`bin/python` as a path that exists; None: there is none."""
    torch: TorchFiles | None = None
    cudnn: tuple[CudnnWitness, ...] = ()
    """Most trusted first."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """File name of each shared object in the usual folders, to its folder in the prefix."""
    modules: frozenset[str] = frozenset()
    """Top-level names in site-packages."""
    damaged: tuple[DamagedFile, ...] = ()
    """Of the shared objects of torch and the CUDA libraries, which are the large ones."""
    unlike_recorded: tuple[str, ...] | None = None
    """Of all files, those that are gone or of another size than recorded; None: not looked."""
    user_site: str | None = None
    """`~/.local/lib/pythonX.Y/site-packages`, where it exists."""
    user_packages: tuple[InstalledPackage, ...] = ()
    """What lies in `user_site`."""


# --- the probe ------------------------------------------------------------------------------


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


# --- all of it ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is judged: a claim (the lock) and everything that was found out about it."""

    name: str
    """The environment's name, or what else the report is headed with."""
    level: Level
    """How deep we looked."""
    require_gpu: bool = False
    platform: str = "linux-64"
    folder: str | None = None
    """Name of the environment's folder; None: there is none."""
    declared_name: str | None = None
    """`name:` of environment.yml; None: not read."""
    target: Target | None = None
    locked: tuple[LockedPackage, ...] | None = None
    """The packages of `platform`; None: there is no lock."""
    host: HostFacts | None = None
    prefix: PrefixFacts | None = None
    probe: ProbeFacts | None = None
    missing: Mapping[Layer, str] = field(default_factory=dict)
    """For each layer that is None, why: `no interpreter in the prefix`."""

    def find_locked(self, *names: str) -> LockedPackage | None:
        """The first of these names that is locked."""
        by_name = {item.name: item for item in reversed(self.locked or ())}
        return next((by_name[name] for name in names if name in by_name), None)
