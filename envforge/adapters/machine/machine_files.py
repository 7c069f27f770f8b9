"""Reads what the machine's own files tell of GPUs: buses, device nodes, containers, libraries.

Everything is read below a root (`host_root`), and what is missing or unreadable stays unknown. The
kernel's side of it is in `kernel_files`, the driver's libraries in `driver_copies`, containers in
`containers`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from envforge.adapters.machine import containers, driver_copies, kernel_files
from envforge.adapters.machine.host_root import HostRoot
from envforge.adapters.machine.mountinfo import Mount, mount_of, read_mounts
from envforge.verify.facts.machine_files import DeviceNode, MachineFiles, PciDevice

_NVIDIA: Final = 0x10DE
_PCI: Final = "/sys/bus/pci/devices"
_NODE: Final = re.compile(r"nvidia.*|dxg|nvmap|nvhost-(gpu|ctrl-gpu)")
_CAPS: Final = "nvidia-caps"
_TEGRA: Final = ("/etc/nv_tegra_release", "/dev/nvmap", "/dev/nvhost-gpu", "/dev/nvgpu")
_WSL_LIBRARY: Final = "/usr/lib/wsl/lib/libcuda.so.1"
_OPTION: Final = re.compile(r"\b(NVreg_(?:DeviceFile\w+|ModifyDeviceFiles))=(\S+)")
_MODPROBE: Final = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d")
_LIMIT: Final = re.compile(r"^Max (?P<name>[a-z ]+?) {2,}(?P<soft>\S+)", re.MULTILINE)
_LIMITS: Final = frozenset({"open files", "locked memory", "stack size", "core file size"})
_UNITS: Final = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def read_machine_files(
    environment: Mapping[str, str], root: Path = Path("/"), *, try_nodes: bool = True
) -> MachineFiles:
    """Everything at once; some milliseconds.

    Args:
        environment: variables of the process: marks of containers, and where the loader looks.
        root: where the machine's files are.
        try_nodes: also open the device nodes. Not where the driver is known to hang.
    """
    host = HostRoot(root)
    mounts = read_mounts(host.text("/proc/self/mountinfo") or "")
    pci = _pci(host)
    container = containers.find_container(host, environment, mounts)
    in_image = container is not None and container.is_image
    may_have_gpu = pci is None or any(item.is_gpu for item in pci)
    kernel = kernel_files.read_kernel(host, has_gpu=may_have_gpu, in_image=in_image)
    return MachineFiles(
        kernel=kernel,
        pci=pci,
        nodes=tuple(_nodes(host, try_nodes=try_nodes)),
        character_devices=_character_devices(host),
        device_rules=containers.device_rules(host),
        node_options=_node_options(host),
        copies=driver_copies.find_copies(host, environment, mounts, in_image=in_image),
        container=container,
        is_wsl=_is_wsl(host, kernel.release),
        has_wsl_library=host.exists(_WSL_LIBRARY),
        is_tegra=any(host.exists(path) for path in _TEGRA),
        is_virtual=_is_virtual(host),
        shm_bytes=_shm_bytes(host, mounts),
        limits=_limits(host),
    )


# --- the PCI bus ----------------------------------------------------------------------------


def _pci(host: HostRoot) -> tuple[PciDevice, ...] | None:
    addresses = host.names(_PCI)
    if not addresses:
        return None
    found = (item for item in addresses if _number(host.line(f"{_PCI}/{item}/vendor")) == _NVIDIA)
    return tuple(_device(host, address) for address in found)


def _device(host: HostRoot, address: str) -> PciDevice:
    # `/sys/bus/pci/devices/X` is a link; what lies in it is found through it
    folder = host.real(f"{_PCI}/{address}")
    return PciDevice(
        address=address,
        device=_number(host.line(f"{folder}/device")),
        kind=_number(host.line(f"{folder}/class")),
        driver=host.link_name(f"{folder}/driver"),
        virtual=host.exists(f"{folder}/physfn"),
        iommu=_iommu(host, folder, address),
    )


def _iommu(host: HostRoot, folder: str, address: str) -> str | None:
    group = host.link_name(f"{folder}/iommu_group")
    groups = "/sys/kernel/iommu_groups"
    if group is None:
        members = (item for item in host.names(groups))
        group = next(
            (item for item in members if host.exists(f"{groups}/{item}/devices/{address}")), None
        )
    return None if group is None else host.line(f"{groups}/{group}/type")


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


# --- device nodes ---------------------------------------------------------------------------


def _nodes(host: HostRoot, *, try_nodes: bool) -> Iterator[DeviceNode]:
    for name in host.names("/dev"):
        if name == _CAPS:
            for part in host.names(f"/dev/{_CAPS}"):
                yield from _node(host, f"/dev/{_CAPS}/{part}", try_nodes=False)
        elif _NODE.fullmatch(name):
            yield from _node(host, f"/dev/{name}", try_nodes=try_nodes)


def _node(host: HostRoot, path: str, *, try_nodes: bool) -> Iterator[DeviceNode]:
    status = host.status(path)
    if status is None or stat.S_ISDIR(status.st_mode):
        return
    yield DeviceNode(
        path=path,
        mode=stat.S_IMODE(status.st_mode),
        owner=status.st_uid,
        group=status.st_gid,
        group_name=_group_name(host, status.st_gid),
        problem=_problem(host.place(path), try_it=try_nodes),
    )


def _problem(path: str, *, try_it: bool) -> str:
    if not try_it:
        return "" if os.access(path, os.R_OK | os.W_OK, effective_ids=True) else "EACCES"
    try:
        # without O_NONBLOCK the driver starts the GPU before it answers
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "EIO")
    return ""


def _group_name(host: HostRoot, number: int) -> str:
    for line in (host.text("/etc/group") or "").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(number):
            return fields[0]
    return ""


def _character_devices(host: HostRoot) -> dict[str, int]:
    text = (host.text("/proc/devices") or "").partition("Block devices:")[0]
    rows = (line.split() for line in text.splitlines())
    return {row[1]: int(row[0]) for row in rows if len(row) == 2 and row[0].isdigit()}


def _node_options(host: HostRoot) -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in _MODPROBE:
        for name in host.names(folder):
            if name.endswith(".conf"):
                text = host.text(f"{folder}/{name}", 1 << 16) or ""
                lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
                found |= {key: value for line in lines for key, value in _OPTION.findall(line)}
    return found


# --- the rest -------------------------------------------------------------------------------


def _is_wsl(host: HostRoot, release: str | None) -> bool:
    marks = f"{release or ''} {host.line('/proc/version')}".lower()
    return "microsoft" in marks or host.exists("/dev/dxg")


def _is_virtual(host: HostRoot) -> bool | None:
    text = host.text("/proc/cpuinfo", 1 << 14)
    if text is None or "flags" not in text:
        return True if host.exists("/sys/hypervisor/type") else None
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return "hypervisor" in flags.split()


def _shm_bytes(host: HostRoot, mounts: tuple[Mount, ...]) -> int | None:
    mount = mount_of(host.real("/dev/shm"), mounts)  # noqa: S108 - where it is
    if mount is None or mount.kind != "tmpfs":
        return None
    size = mount.option("size") or ""
    number, unit = size.rstrip("kmgKMG"), size[-1:].lower()
    return int(number) * _UNITS.get(unit, 1) if number.isdigit() else None


def _limits(host: HostRoot) -> dict[str, int | None]:
    text = host.text("/proc/self/limits") or ""
    return {
        item["name"]: int(item["soft"]) if item["soft"].isdigit() else None
        for item in _LIMIT.finditer(text)
        if item["name"] in _LIMITS
    }
