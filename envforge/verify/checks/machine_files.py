"""What keeps a machine's own GPUs from CUDA: the kernel's module, device nodes, firmware."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from envforge.model.finding import Finding
from envforge.verify.check import CannotLook, check
from envforge.verify.checks.machine import NO_DRIVER, files_of, host_of, present, wants_gpu
from envforge.verify.facts import DeviceNode, HostFacts, MachineFiles, Subject
from envforge.verify.facts.machine_files import NVIDIA_MAJOR, PciDevice

_UNKNOWN: Final = 999
_NO_PERMISSION: Final = 4
"""NVML_ERROR_NO_PERMISSION."""
_NOT_LOADED: Final = 9
"""NVML_ERROR_DRIVER_NOT_LOADED."""
_TOLD_ELSEWHERE: Final = frozenset({0, 34, 802, 803, 804, *range(805, 811)})
"""cuInit's codes that are no sign of a missing nvidia_uvm."""
MODULE: Final = (
    "nouveau-holds-gpu",
    "secure-boot-unsigned-module",
    "kernel-module-not-loaded",
    "kernel-module-not-built",
)
"""Why the kernel module is not there."""
OUTSIDE: Final = (
    "singularity-no-nv",
    "container-without-gpu",
    "container-capabilities-missing",
    "slurm-no-gres",
)
"""Why GPUs of the machine do not reach us."""


# --- the kernel module ----------------------------------------------------------------------


@check(
    level="static",
    needs=("host",),
    symptom="NVRM: The NVIDIA probe routine was not called for 1 device(s)",
    why="a GPU has one kernel driver at a time, and only NVIDIA's knows CUDA",
    source="Oneflow-Inc/oneflow#3106; NVIDIA driver README, interaction with the nouveau driver",
    cause="The kernel's own driver for these boards, nouveau or nova, took the GPU when the machine"
    " started: it is not on the blacklist, or the initial ram disk does not know of it.",
    fix="Put nouveau on the blacklist, write the initial ram disk anew, reboot.",
)
def nouveau_holds_gpu(subject: Subject) -> Iterator[Finding]:
    """No other kernel driver than NVIDIA's holds a GPU."""
    host, files = files_of(subject)
    held = _held_by_others(files)
    unseen = files.pci is None and host.nvml.init == _NOT_LOADED and _open_driver(files)
    if _is_in_use(host, files) or not (held or unseen):
        return
    driver = (held[0].driver if held else None) or _open_driver(files) or "nouveau"
    image = "sudo dracut --force" if _is_of_redhat(files) else "sudo update-initramfs -u"
    yield Finding(
        message=f"the kernel driver {driver} holds"
        f" {_gpus(held) if held else 'the GPU'}, so NVIDIA's cannot",
        seen=f"{held[0].address if held else '/proc/modules'}: driver {driver}; {_module(files)}",
        expected="driver nvidia",
        remedy=f"printf 'blacklist {driver}\\noptions {driver} modeset=0\\n'"
        f" | sudo tee /etc/modprobe.d/blacklist-nouveau.conf && {image} && sudo reboot",
    )


def _open_driver(files: MachineFiles) -> str:
    """The kernel's own driver for these boards, if it is what is loaded."""
    loaded = files.kernel.modules or frozenset()
    if files.kernel.is_loaded:
        return ""
    return next((name for name in ("nouveau", "nova_core") if name in loaded), "")


def _is_of_redhat(files: MachineFiles) -> bool:
    """By the kernel's release, `5.14.0-427.el9.x86_64`."""
    return any(mark in (files.kernel.release or "") for mark in (".el", ".fc", ".amzn"))


def _is_in_use(host: HostFacts, files: MachineFiles) -> bool:
    """Whether CUDA works, and through a module: without one, what works is not on this bus."""
    return bool(host.usable_gpus) and (files.kernel.is_loaded or files.container is not None)


def _held_by_others(files: MachineFiles) -> tuple[PciDevice, ...]:
    held = tuple(item for item in files.gpus if item.is_held_by_open_driver)
    loaded = files.kernel.modules or frozenset()
    if held or files.kernel.is_loaded or not loaded & {"nouveau", "nova_core"}:
        return held
    return tuple(item for item in files.gpus if item.driver is None)


@check(
    level="static",
    needs=("host",),
    symptom="modprobe: ERROR: could not insert 'nvidia': Key was rejected by service",
    why="under Secure Boot the kernel loads only modules signed by a key it trusts",
    source="NVIDIA/gpu-driver-container#44; NVIDIA driver README, signing the kernel module",
    cause="Secure Boot is on, and the module was built here: it is not signed, or signed with a key"
    " that was never enrolled in the firmware.",
    fix="Enrol the key with mokutil and confirm it at the next start, or install the distribution's"
    " signed module.",
    after=("nouveau-holds-gpu",),
)
def secure_boot_unsigned_module(subject: Subject) -> Iterator[Finding]:
    """Secure Boot accepts the module that was built."""
    host, files = files_of(subject)
    kernel = files.kernel
    refused = kernel.secure_boot and kernel.built and kernel.kept_out_by is None
    if not refused or kernel.is_loaded or _is_in_use(host, files):
        return
    if files.pci is not None and not files.gpus:
        return
    how = "signed with a key that is not enrolled" if kernel.signed else "not signed"
    if kernel.signed is None:
        how = "not signed with a key that the firmware trusts"
    yield Finding(
        message=f"Secure Boot is on, and NVIDIA's kernel module is {how}",
        seen=f"{kernel.built[0] if kernel.built else ''} is there, and not loaded{_logged(files)}",
        expected="a module signed with an enrolled key",
        remedy="sudo mokutil --import /var/lib/shim-signed/mok/MOK.der && sudo reboot, and confirm"
        " the key there; or install the distribution's signed module",
    )


@check(
    level="static",
    needs=("host",),
    symptom="NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver",
    why="without its kernel module the driver does nothing",
    source="modprobe.d(5); NVIDIA driver README, loading the kernel module",
    cause="The module is built and nobody loads it: it is on a blacklist (prime-select intel writes"
    " one), or was unloaded.",
    fix="Take it off the blacklist, and load it.",
    after=("nouveau-holds-gpu", "secure-boot-unsigned-module"),
)
def kernel_module_not_loaded(subject: Subject) -> Iterator[Finding]:
    """The kernel module that was built is loaded."""
    host, files = files_of(subject)
    kernel = files.kernel
    if kernel.is_loaded or not kernel.built or _is_in_use(host, files) or not files.gpus:
        return
    by = kernel.kept_out_by
    forbidden = f": {by} forbids it" if by else ""
    lift = f"take `nvidia` out of {by}; " if by else ""
    yield Finding(
        message=f"NVIDIA's kernel module is built, and not loaded{forbidden}",
        seen=f"{kernel.built[0]} is there, and not loaded{_logged(files)}",
        expected="the module nvidia in /proc/modules",
        remedy=f"{lift}sudo modprobe nvidia && sudo nvidia-modprobe -u -c=0",
    )


@check(
    level="static",
    needs=("host",),
    symptom="NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver",
    why="a kernel loads only modules that were built for it",
    source="GoogleCloudPlatform/compute-gpu-installation#18, CachyOS/linux-cachyos#118",
    cause="The kernel was updated, and the driver's module was not built for the new one: dkms or"
    " the kernel's headers are missing, the build failed, or the machine was not restarted.",
    fix="Install the headers and build the module, or start the kernel that has one.",
    after=("nouveau-holds-gpu",),
)
def kernel_module_not_built(subject: Subject) -> Iterator[Finding]:
    """NVIDIA's kernel module was built for the running kernel."""
    host, files = files_of(subject)
    kernel = files.kernel
    if kernel.is_loaded or kernel.built or _is_in_use(host, files) or not files.gpus:
        return
    if kernel.built is None and host.nvml.init != _NOT_LOADED:
        return  # which kernel runs is not known, so nobody could look
    parts = _installed_parts(host, files)
    if not parts:
        return  # nobody installed a driver: that is another finding
    release = kernel.release or "$(uname -r)"
    yield Finding(
        message="the driver is installed, and has no module for the running kernel"
        + (f" {kernel.release}" if kernel.release else ""),
        seen=f"no nvidia.ko for {release}; {parts}",
        expected=f"nvidia.ko below /lib/modules/{release}",
        remedy=_how_to_build(files, release),
    )


def _installed_parts(host: HostFacts, files: MachineFiles) -> str:
    """What tells that somebody installed a driver."""
    library = next((item.path for item in files.copies if not item.is_compat and item.bytes), None)
    library = library or host.cuda.library or host.nvml.library
    if library:
        return f"`{library}` is there"
    if files.kernel.built_for:
        return f"kernel {files.kernel.built_for[-1]} has one"
    return "its source is there" if files.kernel.has_source else ""


def _how_to_build(files: MachineFiles, release: str) -> str:
    kernel = files.kernel
    other = f"; or start kernel {kernel.built_for[-1]}, which has it" if kernel.built_for else ""
    if kernel.release and not kernel.has_tree:
        return f"sudo reboot: the files of the running kernel are gone, it was updated{other}"
    if kernel.has_source:
        return f"sudo dkms autoinstall -k {release} && sudo modprobe nvidia{other}"
    headers = "dnf install kernel-devel" if _is_of_redhat(files) else "apt install linux-headers"
    return (
        f"sudo {headers}-{release} && sudo dkms autoinstall -k {release}; if there is no source"
        f" for dkms, install the driver's package anew{other}"
    )


@check(
    level="static",
    needs=("host",),
    symptom="RuntimeError: Found no NVIDIA driver on your system",
    why="without a driver CUDA programs do not start",
    source="PyTorch, `torch/cuda/__init__.py`",
    cause="This is a machine without a GPU (CI, a login node), or nobody installed a driver.",
    fix="On a machine without a GPU: nothing. Else install NVIDIA's driver, or start the container"
    " with GPUs.",
    after=(*OUTSIDE, *MODULE, "wsl-libcuda-path"),
)
def no_driver_at_all(subject: Subject) -> Iterator[Finding]:
    """The machine has an NVIDIA driver, for an environment that needs one."""
    wants_gpu(subject)
    host = host_of(subject)
    if host.machine.driver is not None:
        return
    gpus = host.files.gpus if host.files is not None else ()
    if not subject.require_gpu and not gpus:
        raise CannotLook(NO_DRIVER)
    library = f"; `{host.cuda.library}` is there alone" if host.cuda.library else ""
    needed = f"this machine has {_gpus(gpus)}" if gpus else "a GPU is required"
    here = "install NVIDIA's driver, such as `sudo ubuntu-drivers install`, and reboot"
    away = "run it on a GPU machine; in a container, start it with GPUs (`--gpus all`, `--nv`)"
    yield Finding(
        message=f"no NVIDIA driver was found, and {needed}",
        seen=f"no kernel module, and no libcuda that starts{library}",
        expected="a driver and a GPU",
        remedy=here if gpus else away,
    )


# --- device nodes ---------------------------------------------------------------------------


@check(
    level="static",
    needs=("host",),
    symptom="Failed to initialize NVML: Insufficient Permissions",
    why="programs reach a GPU through device nodes, and must be allowed to open them",
    source="openSUSE/nvidia-driver-G06#52; NVIDIA driver README, NVreg_DeviceFileMode",
    cause="The nodes are only for a group the user is not in, or the control group (a container"
    " after `systemctl daemon-reload`, a batch job) forbids them.",
    fix="Join the group and log in again, give the nodes back their mode 0666, or start the"
    " container or job anew, with GPUs.",
    after=("slurm-no-gres", "container-without-gpu"),
)
def dev_nodes_permission(subject: Subject) -> Iterator[Finding]:
    """This user may open the GPUs' device nodes."""
    host, files = files_of(subject)
    shut = shut_nodes(files)
    if host.nvml.init == _NO_PERMISSION and not shut:
        shut = tuple(item for item in _needed_nodes(files) if item.mode & 0o006 != 0o006)
    elif not shut:
        return
    node = shut[0] if shut else None
    is_ruled = node is not None and node.problem not in {"", "EACCES"}
    is_ruled = is_ruled or files.forbids(NVIDIA_MAJOR)
    yield Finding(
        message="the device cgroup does not let this process open the GPUs"
        if is_ruled
        else "this user may not open the GPUs' device nodes",
        seen=_seen_of(host, shut),
        expected="/dev/nvidiactl, /dev/nvidia-uvm and a GPU's node open for reading and writing",
        remedy=_rules_remedy(files) if is_ruled else _permission_remedy(files, node),
    )


def shut_nodes(files: MachineFiles) -> tuple[DeviceNode, ...]:
    """Nodes without which no CUDA program starts and which cannot be opened.

    One that everybody needs, or all GPUs: that some GPUs are other people's is as it should be.
    """
    needed = _needed_nodes(files)
    if files.forbids(NVIDIA_MAJOR):
        return needed
    shut = tuple(item for item in needed if is_shut(item))
    common = any(not item.is_gpu for item in shut)
    every = bool(files.gpu_nodes) and all(is_shut(item) for item in files.gpu_nodes)
    return shut if common or every else ()


def is_shut(node: DeviceNode) -> bool:
    """Whether it cannot be opened; a mode that lets nobody in is meant, also for root."""
    return node.problem in {"EACCES", "EPERM"} or not node.mode & 0o666


def _needed_nodes(files: MachineFiles) -> tuple[DeviceNode, ...]:
    return tuple(
        item for item in files.nodes if item.is_gpu or item.name in {"nvidiactl", "nvidia-uvm"}
    )


def _seen_of(host: HostFacts, shut: tuple[DeviceNode, ...]) -> str:
    nodes = [f"{item.path} is {item.mode:04o} {_owner(item)}" for item in shut[:3]]
    problem = next((item.problem for item in shut if item.problem), "")
    code = [f"NVML returned {host.nvml.init}"] if host.nvml.init == _NO_PERMISSION else []
    return "; ".join([*nodes, *([f"open: {problem}"] if problem else []), *code])


def _owner(node: DeviceNode) -> str:
    user = "root" if node.owner == 0 else str(node.owner)
    group = node.group_name or ("root" if node.group == 0 else str(node.group))
    return f"{user}:{group}"


def _rules_remedy(files: MachineFiles) -> str:
    if files.container is None:
        return "ask the scheduler for a GPU, or start the session anew"
    return (
        "start the container anew, with `--gpus all`; where it loses GPUs while it runs, pass"
        " `--device /dev/nvidiactl --device /dev/nvidia0 --device /dev/nvidia-uvm` too"
    )


def _permission_remedy(files: MachineFiles, node: DeviceNode | None) -> str:
    mode = next((key for key in files.node_options if key == "NVreg_DeviceFileMode"), None)
    if node is not None and node.group and node.mode & 0o060 == 0o060:
        group = node.group_name or str(node.group)
        return f'sudo usermod -aG {group} "$USER", and log in again'
    if mode is not None:
        value = files.node_options[mode]
        return f"set {mode}=0666 in place of {value} in /etc/modprobe.d, and reboot"
    return "sudo chmod 0666 /dev/nvidia* (lasting: NVreg_DeviceFileMode=0666 in /etc/modprobe.d)"


@check(
    level="static",
    needs=("host",),
    symptom="CUDA unknown error - this may be due to an incorrectly set up environment",
    why="CUDA does not start, although nvidia-smi works",
    source="pytorch/pytorch#49081, apptainer/singularity#5966",
    cause="CUDA needs the module nvidia_uvm and its node /dev/nvidia-uvm, which nvidia-smi does"
    " not; nobody loaded it, the container was not given it, or it broke while the machine slept."
    " Variables are next to never the cause, whatever the message says.",
    fix="Load nvidia_uvm, make its node, pass it into the container; after a sleep load it anew.",
    after=(
        *OUTSIDE,
        *MODULE,
        "wsl-libcuda-path",
        "driver-library-mismatch-nvml",
        "dev-nodes-permission",
        "stale-cuda-compat",
        "gpu-error",
    ),
)
def cuda_unknown_999_uvm(subject: Subject) -> Iterator[Finding]:
    """CUDA starts without an unknown error."""
    wants_gpu(subject)
    host = present(subject)
    missing = _missing_uvm(host.files) if host.files is not None else ""
    code = host.cuda.init
    if code != _UNKNOWN and (code is None or code in _TOLD_ELSEWHERE or not missing):
        return
    name = f" ({host.cuda.init_name})" if host.cuda.init_name else ""
    why = missing or "the module nvidia_uvm does not answer"
    yield Finding(
        message=f"CUDA does not start: {why}{name}",
        seen=f"cuInit returned {code}{name}{_while_nvml_works(host)}",
        expected="cuInit returns 0",
        remedy=_uvm_remedy(host.files, missing),
    )


def _while_nvml_works(host: HostFacts) -> str:
    return ", while NVML works" if host.nvml.works else ""


def _missing_uvm(files: MachineFiles) -> str:
    """What of nvidia_uvm is not there; empty: nothing is known to miss."""
    modules, numbers = files.kernel.modules, files.character_devices
    if modules and "nvidia" in modules and "nvidia_uvm" not in modules:
        return "the module nvidia_uvm is not loaded"
    if "nvidia" in numbers and "nvidia-uvm" not in numbers:
        return "the kernel has no device nvidia-uvm"
    if files.nodes and not files.is_tegra and files.node("dxg") is None:
        node = files.node("nvidia-uvm")
        if node is None:
            return "/dev/nvidia-uvm is missing"
        if node.problem:
            return f"/dev/nvidia-uvm cannot be opened ({node.problem})"
    return ""


def _uvm_remedy(files: MachineFiles | None, missing: str) -> str:
    load = "sudo modprobe nvidia_uvm && sudo nvidia-modprobe -u -c=0"
    if files is not None and files.container is not None:
        if "module" in missing or "kernel" in missing:
            return f"on the host: {load}; then start the container anew"
        return "start the container with `--device /dev/nvidia-uvm`, or with `--gpus all`"
    if missing:
        return load
    return "sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm; else reboot"


# --- GPUs that do not start -----------------------------------------------------------------


@check(
    level="static",
    needs=("host",),
    symptom="nvidia-smi: No devices were found; NVRM: RmInitAdapter failed",
    why="the module is loaded, and drives no GPU",
    source="NVIDIA/open-gpu-kernel-modules#862, NVIDIA/open-gpu-kernel-modules#1104",
    cause="The GPU's firmware does not start, or the loaded flavour of the kernel module is not for"
    " this generation: Blackwell and later need the open modules, GPUs before Turing the others.",
    fix="Install the other flavour of the same driver; else switch the machine off and on, and look"
    " for updates of the board's firmware.",
    after=(
        *OUTSIDE,
        "dev-nodes-permission",
        "driver-does-not-answer",
        "driver-library-mismatch-nvml",
        "cvd-empty-or-invalid",
    ),
)
def gsp_rminit_failed(subject: Subject) -> Iterator[Finding]:
    """The driver starts the GPUs that it holds."""
    host, files = files_of(subject)
    present(subject)
    held = tuple(item for item in files.gpus if item.driver in {"nvidia", None})
    if not held or not host.nvml.works or host.usable_gpus or _states(host):
        return
    if _was_not_handed(host, files):
        return
    wrong = next((item for item in held if _other_flavour(item, files)), None)
    yield Finding(
        message=f"the driver is loaded, and does not start {_gpus(held)}"
        f"{_flavour_words(wrong, files)}",
        seen=f"PCI: {_gpus(held)}; NVML: none{_logged(files)}",
        expected="as many GPUs in NVML as on the bus",
        remedy=_flavour_remedy(wrong)
        if wrong
        else "sudo dmesg | grep -i nvrm; switch the machine off and on; update the GPU's firmware",
    )


def _was_not_handed(host: HostFacts, files: MachineFiles) -> bool:
    """A container that was to have no GPU, or got none."""
    value = host.variables.get("NVIDIA_VISIBLE_DEVICES")
    declined = value is not None and value.strip().lower() in {"void", "none", ""}
    return declined or (files.container is not None and not files.gpu_nodes)


def _states(host: HostFacts) -> bool:
    return bool(host.nvml.gpus or host.nvml.states)


def _other_flavour(device: PciDevice, files: MachineFiles) -> bool:
    loaded = files.kernel.flavour
    return device.needs is not None and loaded is not None and device.needs != loaded


def _flavour_words(wrong: PciDevice | None, files: MachineFiles) -> str:
    if wrong is None:
        return ""
    return f": the {files.kernel.flavour} kernel modules are loaded, and it needs the {wrong.needs}"


def _flavour_remedy(wrong: PciDevice) -> str:
    if wrong.needs == "open":
        return "sudo apt install nvidia-open (or `--kernel-module-type=open`), and reboot"
    return "install the proprietary kernel modules (`--kernel-module-type=proprietary`), and reboot"


# --- words ----------------------------------------------------------------------------------


def _gpus(devices: tuple[PciDevice, ...]) -> str:
    count = len(devices)
    return f"the NVIDIA GPU at {devices[0].address}" if count == 1 else f"{count} NVIDIA GPUs"


def _module(files: MachineFiles) -> str:
    if files.kernel.is_loaded:
        return "the module nvidia is loaded, too"
    if files.kernel.built == ():
        return f"no module nvidia was built for {files.kernel.release}"
    return "the module nvidia is not loaded"


def _logged(files: MachineFiles) -> str:
    """The kernel's own words, where its log may be read."""
    telling = ("rejected", "key", "signature", "rminitadapter", "gsp", "failed")
    lines = [line for line in files.kernel.log if any(word in line.lower() for word in telling)]
    return f"; the kernel log: {lines[-1][:160]}" if lines else ""
