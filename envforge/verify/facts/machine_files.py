"""What the machine's own files tell: kernel, buses, device nodes, containers, libraries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from envforge.verify.facts.driver import file_version

NVIDIA_MAJOR: Final = 195
"""Major number of /dev/nvidiactl and /dev/nvidia0 … (kernel, `devices.txt`)."""
_COMPAT: Final = re.compile(r"[/-]compat/")
_TURING, _BLACKWELL = 0x1E00, 0x2900
_FOR_GUESTS: Final = frozenset({"vfio-pci", "pci-stub", "xen-pciback", "nvgrace-gpu-vfio-pci"})
_OPEN_DRIVERS: Final = frozenset({"nouveau", "nova", "nova-core", "nova_core", "NovaCore"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PciDevice:
    """A device of NVIDIA on the PCI bus."""

    address: str
    """`0000:17:00.0`."""
    device: int
    """Device id, 0x2335 for an H200; 0: not told."""
    kind: int
    """PCI class, 24 bits: 0x030200."""
    driver: str | None = None
    """The kernel driver that holds it, by its name in `/sys/bus/pci/drivers`; None: none does."""
    virtual: bool = False
    """A virtual function: a part of another device, made to be handed to a virtual machine."""
    iommu: str | None = None
    """Type of its IOMMU group: `DMA`, `DMA-FQ`, `identity`; empty: a group that does not tell;
    None: in no group."""

    @property
    def is_gpu(self) -> bool:
        """Display or 3D controller, of this machine and for its own use."""
        return self.kind >> 16 == 0x03 and not self.virtual and not self.is_for_guests

    @property
    def is_for_guests(self) -> bool:
        """Set aside for a virtual machine."""
        return self.driver in _FOR_GUESTS

    @property
    def is_held_by_open_driver(self) -> bool:
        """Held by nouveau or its successor, which know no CUDA."""
        return self.driver in _OPEN_DRIVERS

    @property
    def needs(self) -> Literal["open", "proprietary"] | None:
        """The one flavour of the kernel module that drives it; None: either does.

        The open modules begin with Turing, and from Blackwell on there are no others.
        """
        if self.device >= _BLACKWELL:
            return "open"
        return "proprietary" if 0 < self.device < _TURING else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNode:
    """A file of `/dev` through which programs reach a GPU."""

    path: str
    """`/dev/nvidia0`."""
    mode: int = 0o666
    """Permission bits."""
    owner: int = 0
    group: int = 0
    group_name: str = ""
    problem: str = ""
    """Name of the error with which it cannot be opened for reading and writing: `EACCES` for
    permissions, `EPERM` for rules of the device cgroup; empty: it can."""

    @property
    def name(self) -> str:
        return self.path.rpartition("/dev/")[2]

    @property
    def is_gpu(self) -> bool:
        """`/dev/nvidia0` and its like."""
        return self.name.startswith("nvidia") and self.name[6:].isdigit()


Place = Literal["LD_LIBRARY_PATH", "cache", "default", "compat", "wsl", "other", "leftover"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverCopy:
    """A copy of libcuda or NVML that the loader could take."""

    name: str
    """`libcuda.so.1` or `libnvidia-ml.so.1`."""
    path: str
    """Where the loader would open it."""
    real: str
    """The same with every link followed."""
    place: Place
    """Why it could be taken. `compat`, `wsl` and `other` are folders of CUDA, WSL, NixOS and
    containers; `leftover`: a file of another version beside the others, to which no name leads."""
    bytes: int = 1
    """0: an empty file, as a saved container leaves them behind."""
    mounted: bool = False
    """Whether it lies on a mount of its own below `/`, as what a container is handed does."""
    package: str | None = None
    """Of the image's packages, the one that brought it; only looked for in containers."""

    @property
    def version(self) -> str | None:
        """`535.104.05` of the file's name; None: it names none."""
        return file_version(self.real)

    @property
    def is_compat(self) -> bool:
        """From a `cuda-compat` package, whose folder is called so wherever it lies."""
        return self.place == "compat" or any(map(_COMPAT.search, (self.path, self.real)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The container we are in."""

    kind: str
    """`docker`, `podman`, `kubernetes`, `apptainer`, `lxc` …"""
    evidence: str
    """What told so: `/.dockerenv`, `KUBERNETES_SERVICE_HOST` …"""

    @property
    def is_image(self) -> bool:
        """Whether its files come from an image, and the driver's from outside."""
        return self.kind not in {"lxc", "systemd-nspawn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """The running kernel, and the NVIDIA module for it."""

    release: str | None = None
    """`5.15.0-122-generic`."""
    modules: frozenset[str] | None = None
    """Those that are loaded; None: `/proc/modules` cannot be read."""
    driver: str | None = None
    """Version of the NVIDIA module that is loaded."""
    flavour: Literal["open", "proprietary"] | None = None
    """Which of NVIDIA's two sets of modules is loaded."""
    command_line: tuple[str, ...] = ()
    built: tuple[str, ...] | None = None
    """Files of the NVIDIA module for this kernel; None: not looked for, one is loaded."""
    has_tree: bool = False
    """Whether `/lib/modules` knows this kernel; looked for together with `built`."""
    built_for: tuple[str, ...] = ()
    """Other kernels that have an NVIDIA module."""
    has_source: bool = False
    """Whether the module's source lies ready for dkms."""
    signed: bool | None = None
    """Whether the module that was found carries a signature; None: packed, or none was found."""
    kept_out_by: str | None = None
    """The file, or the command line, that forbids loading it."""
    secure_boot: bool | None = None
    """None: no UEFI variable tells."""
    log: tuple[str, ...] = ()
    """Last lines of NVIDIA's module in the log files that may be read."""

    @property
    def is_loaded(self) -> bool:
        """Whether the NVIDIA module is there."""
        return self.driver is not None or "nvidia" in (self.modules or ())

    def option(self, *names: str) -> str | None:
        """The last value on the command line for one of these names, `iommu` and the like."""
        found = [item.partition("=") for item in self.command_line]
        return next((value for name, _, value in reversed(found) if name in names), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFiles:
    """`/proc`, `/sys`, `/dev`, `/etc` and the folders of the driver's libraries."""

    kernel: Kernel = field(default_factory=Kernel)
    pci: tuple[PciDevice, ...] | None = None
    """NVIDIA's devices; None: the bus shows no device at all, so nothing is known."""
    nodes: tuple[DeviceNode, ...] = ()
    character_devices: Mapping[str, int] = field(default_factory=dict)
    """Name to major number, of `/proc/devices`; empty: it cannot be read."""
    device_rules: tuple[str, ...] | None = None
    """Of the device cgroup, version 1: `c 195:* rwm`; None: version 2, which does not tell."""
    node_options: Mapping[str, str] = field(default_factory=dict)
    """`NVreg_DeviceFileMode` and its like, from modprobe's configuration."""
    copies: tuple[DriverCopy, ...] = ()
    """In the loader's order, for each of the two names."""
    container: Container | None = None
    is_wsl: bool = False
    has_wsl_library: bool = False
    """Whether Windows' driver is there, in `/usr/lib/wsl/lib`."""
    is_tegra: bool = False
    """A Jetson and its like: a GPU on no PCI bus, with device nodes of its own."""
    is_virtual: bool | None = None
    """Whether a hypervisor is below us; None: nothing tells."""
    shm_bytes: int | None = None
    """Size of /dev/shm; None: not limited, or not told."""
    limits: Mapping[str, int | None] = field(default_factory=dict)
    """Soft limits by name, `open files`, `locked memory`, `stack size`, `core file size`; None:
    unlimited."""

    @property
    def gpus(self) -> tuple[PciDevice, ...]:
        """NVIDIA GPUs that this machine has for itself."""
        return tuple(item for item in self.pci or () if item.is_gpu)

    @property
    def has_hardware(self) -> bool:
        """Whether an NVIDIA GPU, or a module that runs one, is in sight."""
        return bool(self.gpus) or self.kernel.is_loaded or self.has_wsl_library

    @property
    def gpu_nodes(self) -> tuple[DeviceNode, ...]:
        """`/dev/nvidia0` and its like."""
        return tuple(item for item in self.nodes if item.is_gpu)

    def node(self, name: str) -> DeviceNode | None:
        """`nvidiactl`, `nvidia-uvm`, `dxg`."""
        return next((item for item in self.nodes if item.name == name), None)

    def copies_of(self, name: str) -> tuple[DriverCopy, ...]:
        """Copies of `libcuda.so.1` or `libnvidia-ml.so.1`, in the loader's order."""
        return tuple(item for item in self.copies if item.name == name)

    def forbids(self, major: int) -> bool:
        """Whether the device cgroup is known to forbid character devices of that number."""
        if self.device_rules is None:
            return False
        allowed = ("*:", f"{major}:")
        return not any(
            rule[:1] in {"a", "c"} and rule[2:].startswith(allowed) for rule in self.device_rules
        )
