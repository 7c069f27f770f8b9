"""The machine's files, as distributions and container engines really spell them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envforge.adapters.machine.machine_files import read_machine_files
from envforge.verify.facts import MachineFiles

RELEASE = "6.8.0-45-generic"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of the machine."""

    def to(path: str, text: str | bytes = "", mode: int = 0o644) -> Path:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
        target.chmod(mode)
        return target

    return to


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., MachineFiles]:
    def of(**environment: str) -> MachineFiles:
        return read_machine_files(environment, tmp_path)

    return of


Read = Callable[..., MachineFiles]


def gpu(write: Write, tmp_path: Path, address: str = "0000:17:00.0", **files: str) -> None:
    """A device as sysfs has it: a link into the tree of buses."""
    folder = f"sys/devices/pci0000:16/{address}"
    told = {"vendor": "0x10de", "device": "0x2330", "class": "0x030200", **files}
    for name, text in told.items():
        write(f"{folder}/{name}", f"{text}\n")
    link = tmp_path / f"sys/bus/pci/devices/{address}"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(f"../../../devices/pci0000:16/{address}")


def test_nothing_at_all(read: Read) -> None:
    """An empty tree is a machine of which nothing is known."""
    assert read() == MachineFiles()


# --- the kernel -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "flavour"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19", "proprietary"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build",
            "open",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.65.06  Release Build",
            "open",
        ),
    ],
)
def test_both_flavours_of_the_module(read: Read, write: Write, line: str, flavour: str) -> None:
    write("proc/driver/nvidia/version", f"{line}\nGCC version: 12\n")
    kernel = read().kernel
    assert kernel.flavour == flavour
    assert kernel.driver in line
    assert kernel.is_loaded


def test_the_module_without_its_report(read: Read, write: Write) -> None:
    write("sys/module/nvidia/version", "535.104.05\n")
    assert read().kernel.driver == "535.104.05"
    write("proc/modules", "nvidia_uvm 1 0 - Live 0x0\nnvidia 1 2 nvidia_uvm, Live 0x0\n")
    assert read().kernel.modules == {"nvidia", "nvidia_uvm"}


def test_the_release_and_the_command_line(read: Read, write: Write) -> None:
    write("proc/version", f"Linux version {RELEASE} (buildd@x) #45\n")
    write("proc/cmdline", "ro iommu=soft iommu=pt intel_iommu=on,sm_on modprobe.blacklist=nvidia\n")
    kernel = read().kernel
    assert kernel.release == RELEASE
    assert kernel.option("iommu") == "pt"
    assert kernel.option("amd_iommu") is None


@pytest.mark.parametrize(
    "path",
    [
        "lib/modules/{}/updates/dkms/nvidia.ko.zst",
        "lib/modules/{}/extra/nvidia/nvidia.ko.xz",
        "lib/modules/{}/kernel/drivers/video/nvidia.ko",
        "lib/modules/{}/kernel/nvidia-570-server-open/nvidia.ko",
        "lib/modules/{}/updates/dkms/nvidia-current.ko",
        "usr/lib/modules/{}/extramodules/nvidia.ko.gz",
        "run/booted-system/kernel-modules/lib/modules/{}/misc/nvidia.ko.xz",
    ],
)
def test_where_the_module_is_kept(read: Read, write: Write, tmp_path: Path, path: str) -> None:
    gpu(write, tmp_path)
    write("proc/sys/kernel/osrelease", f"{RELEASE}\n")
    write(path.format(RELEASE))
    kernel = read().kernel
    assert kernel.built == (f"/{path.format(RELEASE)}",)
    assert kernel.has_tree


def test_modules_that_only_sound_alike(read: Read, write: Write, tmp_path: Path) -> None:
    gpu(write, tmp_path)
    write("proc/sys/kernel/osrelease", f"{RELEASE}\n")
    for name in ("nvidiafb.ko", "nvidia-uvm.ko", "nvidia-wmi-ec-backlight.ko.zst", "i2c-nvidia.ko"):
        write(f"lib/modules/{RELEASE}/kernel/{name}")
    broken = tmp_path / f"lib/modules/{RELEASE}/weak-updates/nvidia.ko"
    broken.parent.mkdir()
    broken.symlink_to("/lib/modules/gone/extra/nvidia.ko")
    write("lib/modules/6.8.0-40-generic/kernel/nvidia-570/nvidia.ko")
    write("var/lib/dkms/nvidia/570.124.06/source")
    kernel = read().kernel
    assert kernel.built == ()
    assert kernel.built_for == ("6.8.0-40-generic",)
    assert kernel.has_source


@pytest.mark.parametrize(
    ("name", "data", "signed"),
    [
        ("nvidia.ko", b"code~Module signature appended~\n", True),
        ("nvidia.ko", b"code", False),
        ("nvidia.ko.xz", b"packed", None),
    ],
)
def test_signatures(  # noqa: PLR0917 - fixtures and parameters
    read: Read, write: Write, tmp_path: Path, name: str, data: bytes, signed: bool | None
) -> None:
    gpu(write, tmp_path)
    write("proc/sys/kernel/osrelease", RELEASE)
    write(f"lib/modules/{RELEASE}/extra/{name}", data)
    assert read().kernel.signed is signed


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        ("lib/modprobe.d/blacklist-nvidia.conf", "alias nvidia off\n", True),
        ("etc/modprobe.d/x.conf", "blacklist nvidia # for now\n", True),
        ("etc/modprobe.d/x.conf", "install nvidia /bin/false\n", True),
        ("etc/modprobe.d/x.conf", "#blacklist nvidia\nblacklist nvidiafb\n", False),
        ("etc/modprobe.d/x.conf.bak", "blacklist nvidia\n", False),
    ],
)
def test_what_forbids_the_module(  # noqa: PLR0917 - the same
    read: Read, write: Write, tmp_path: Path, path: str, text: str, told: bool
) -> None:
    gpu(write, tmp_path)
    write("proc/sys/kernel/osrelease", RELEASE)
    write(path, text)
    assert read().kernel.kept_out_by == (f"/{path}" if told else None)


def test_the_command_line_forbids_it(read: Read, write: Write, tmp_path: Path) -> None:
    gpu(write, tmp_path)
    write("proc/sys/kernel/osrelease", RELEASE)
    write("proc/cmdline", "quiet modprobe.blacklist=nouveau,nvidia\n")
    assert read().kernel.kept_out_by == "the kernel's command line"


@pytest.mark.parametrize(
    ("path", "data", "told"),
    [
        ("efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", b"\x06\0\0\0\x01", True),
        ("efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", b"\x06\0\0\0\0", False),
        ("efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", b"\x06", None),
        ("vars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c/data", b"\x01", True),
    ],
)
def test_secure_boot(read: Read, write: Write, path: str, data: bytes, told: bool | None) -> None:
    write(f"sys/firmware/efi/{path}", data)
    assert read().kernel.secure_boot is told


def test_the_kernels_log(read: Read, write: Write, tmp_path: Path) -> None:
    gpu(write, tmp_path)
    noise = "kernel: eth0 up\n" * 20_000
    write("var/log/kern.log", f"{noise}Nov 1 h kernel: [ 9.1] NVRM: RmInitAdapter failed!\n")
    assert read().kernel.log == ("NVRM: RmInitAdapter failed!",)


# --- the bus and the nodes ------------------------------------------------------------------


def test_devices_on_the_bus(read: Read, write: Write, tmp_path: Path) -> None:
    gpu(write, tmp_path)
    gpu(write, tmp_path, "0000:18:00.0", device="0x22a3", **{"class": "0x068000"})
    gpu(write, tmp_path, "0000:19:00.4", physfn="")
    gpu(write, tmp_path, "0000:1a:00.1", **{"class": "0x040300"})
    gpu(write, tmp_path, "0000:1b:00.0", vendor="0x8086")
    gpu(write, tmp_path, "0000:1c:00.0", device="garbage", **{"class": ""})
    driver = tmp_path / "sys/devices/pci0000:16/0000:17:00.0/driver"
    driver.symlink_to("../../../bus/pci/drivers/nvidia")
    (driver.parent / "iommu_group").symlink_to("../../../kernel/iommu_groups/7")
    write("sys/kernel/iommu_groups/7/type", "DMA-FQ\n")

    files = read()

    assert [item.address for item in files.gpus] == ["0000:17:00.0"]
    [held] = files.gpus
    assert (held.driver, held.iommu, held.device, held.needs) == ("nvidia", "DMA-FQ", 0x2330, None)
    assert len(files.pci or ()) == 5


def test_a_bus_without_nvidia_is_no_unknown_bus(read: Read, write: Write) -> None:
    write("sys/bus/pci/devices/0000:00:01.0/vendor", "0x8086\n")
    assert read().pci == ()


@pytest.mark.parametrize(
    ("device", "needs"),
    [("0x2b85", "open"), ("0x1db4", "proprietary"), ("0x20b0", None), ("", None)],
)
def test_which_flavour_a_gpu_needs(
    read: Read, write: Write, tmp_path: Path, device: str, needs: str | None
) -> None:
    gpu(write, tmp_path, device=device)
    assert read().gpus[0].needs == needs


def test_device_nodes(read: Read, write: Write, tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1"):
        write(f"dev/{name}", mode=0o660)
    for name in ("null", "sda"):
        write(f"dev/{name}")
    (tmp_path / "dev/nvidia-dangling").symlink_to("/nowhere")
    write("etc/group", f"root:x:0:\nvideo:x:{os.getgid()}:ada\nbroken\n")
    write(
        "proc/devices",
        "Character devices:\n195 nvidia\n510 nvidia-uvm\nx\n\nBlock devices:\n8 sd\n",
    )

    files = read()

    names = [item.name for item in files.nodes]
    assert names == [
        "nvidia-caps/nvidia-cap1",
        "nvidia-uvm",
        "nvidia0",
        "nvidia12",
        "nvidiactl",
    ]
    assert [item.name for item in files.gpu_nodes] == ["nvidia0", "nvidia12"]
    assert {(item.mode, item.group_name, item.problem) for item in files.nodes} == {
        (0o660, "root" if os.getgid() == 0 else "video", "")
    }
    assert files.character_devices == {"nvidia": 195, "nvidia-uvm": 510}


def test_nodes_that_may_not_be_opened() -> None:
    """Opened, and where the driver hangs only asked about."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "dev").mkdir()
        (root / "dev/nvidiactl").touch(0o600)
        with as_nobody():
            found = [read_machine_files({}, root, try_nodes=tried) for tried in (True, False)]
    assert [files.nodes[0].problem for files in found] == ["EACCES", "EACCES"]


@contextmanager
def as_nobody() -> Iterator[None]:
    """For a while another user than the one who owns the files."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_node_of_a_driver_that_is_gone(write: Write, tmp_path: Path) -> None:
    """Any other error is kept by its name."""
    write("dev/x")
    os.mkfifo(tmp_path / "dev/nvidia0")
    (tmp_path / "dev/nvidiactl").symlink_to("nvidiactl")
    [node] = read_machine_files({}, tmp_path).nodes
    assert node.name == "nvidia0"
    assert read_machine_files({}, tmp_path, try_nodes=False).nodes[0].problem == ""


def test_modprobes_options_for_the_nodes(read: Read, write: Write) -> None:
    write(
        "etc/modprobe.d/nvidia.conf",
        "# options nvidia NVreg_DeviceFileGID=1\n"
        "options nvidia NVreg_DeviceFileMode=0660 NVreg_DeviceFileGID=44\n",
    )
    assert read().node_options == {"NVreg_DeviceFileMode": "0660", "NVreg_DeviceFileGID": "44"}


def test_the_device_cgroup(read: Read, write: Write) -> None:
    assert not read().forbids(195)
    write("proc/self/cgroup", "11:cpu:/\n5:devices:/docker/abc\n0::/x\nnonsense\n")
    assert read().device_rules is None
    write("sys/fs/cgroup/devices/devices.list", "c 1:3 rwm\nb 195:* rwm\n")
    assert read().forbids(195)
    write("sys/fs/cgroup/devices/docker/abc/devices.list", "c 195:* rwm\n")
    assert not read().forbids(195)
    write("sys/fs/cgroup/devices/docker/abc/devices.list", "a *:* rwm\n")
    assert not read().forbids(195)


# --- containers and the rest ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "path", "text", "kind"),
    [
        ({}, ".dockerenv", "", "docker"),
        ({}, "run/.containerenv", 'engine="podman-4.9"\n', "podman"),
        ({}, ".singularity.d/runscript", "", "apptainer"),
        ({}, "run/systemd/container", "lxc\n", "lxc"),
        ({}, "proc/1/cgroup", "0::/kubepods.slice/kubepods-burstable.slice/x\n", "kubernetes"),
        ({}, "proc/1/cgroup", "12:cpu:/docker/0123456789abcdef\n", "docker"),
        ({}, "proc/1/cgroup", "0::/machine.slice/libpod-0123456789ab.scope\n", "podman"),
        ({}, "proc/1/cgroup", "0::/lxc.payload.web/init.scope\n", "lxc"),
        ({}, "proc/1/cgroup", "0::/system.slice/containerd.service\n", None),
        ({}, "proc/1/cgroup", "0::/system.slice/docker.service\n", None),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, ".dockerenv", "", "kubernetes"),
        ({"APPTAINER_NAME": "x.sif", "container": "docker"}, "x", "", "apptainer"),
        ({"container": "oci"}, "x", "", "docker"),
        ({"container": "podman"}, "x", "", "podman"),
        ({"container": ""}, "x", "", None),
        (
            {},
            "proc/self/mountinfo",
            "1 0 0:9 / / rw - overlay o rw,lowerdir=/var/lib/docker/overlay2/l/X\n",
            "docker",
        ),
        (
            {},
            "proc/self/mountinfo",
            "1 0 8:1 /var/lib/kubelet/pods/u/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n",
            "kubernetes",
        ),
        (  # a host that runs containers
            {},
            "proc/self/mountinfo",
            (
                "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
                "2 1 0:9 / /var/lib/docker/overlay2/a/merged rw - overlay overlay rw\n"
            ),
            None,
        ),
    ],
)
def test_marks_of_containers(  # noqa: PLR0917 - the same
    read: Read, write: Write, variables: dict[str, str], path: str, text: str, kind: str | None
) -> None:
    write(path, text)
    found = read(**variables).container
    assert (found.kind if found else None) == kind
    assert found is None or found.evidence


def test_wsl_and_jetson(read: Read, write: Write) -> None:
    write("proc/version", "Linux version 4.4.0-19041-Microsoft\n")
    assert read().is_wsl
    assert not read().has_wsl_library
    write("usr/lib/wsl/lib/libcuda.so.1")
    assert read().has_hardware
    assert not read().is_tegra
    write("etc/nv_tegra_release", "# R35")
    assert read().is_tegra


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("flags\t\t: fpu hypervisor\n", True),
        ("flags\t\t: fpu sse\n", False),
        ("Features : fp asimd\n", None),
    ],
)
def test_virtual_machines(read: Read, write: Write, text: str, told: bool | None) -> None:
    write("proc/cpuinfo", text)
    assert read().is_virtual is told


@pytest.mark.parametrize(
    ("options", "size"),
    [("rw,size=65536k", 64 << 20), ("rw,size=1g", 1 << 30), ("rw,size=4096", 4096), ("rw", None)],
)
def test_shared_memory(read: Read, write: Write, options: str, size: int | None) -> None:
    write("dev/shm/x")
    write(
        "proc/self/mountinfo",
        f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /dev/shm rw - tmpfs shm {options}\n",
    )
    assert read().shm_bytes == size


def test_limits(read: Read, write: Write) -> None:
    write(
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units\n"
        "Max cpu time              unlimited            unlimited            seconds\n"
        "Max open files            1024                 524288               files\n"
        "Max locked memory         unlimited            unlimited            bytes\n",
    )
    assert read().limits == {"open files": 1024, "locked memory": None}


# --- the driver's libraries -----------------------------------------------------------------


def test_copies_in_the_loaders_order(read: Read, write: Write, tmp_path: Path) -> None:
    write("opt/own/libcuda.so.1", "x")
    write("usr/lib/x86_64-linux-gnu/libcuda.so.570.124.06", "x")
    (tmp_path / "usr/lib/x86_64-linux-gnu/libcuda.so.1").symlink_to("libcuda.so.570.124.06")
    (tmp_path / "lib").symlink_to("usr/lib")
    write("usr/lib/x86_64-linux-gnu/libcuda.so.535.54.03", "")
    write("usr/local/cuda-12.2/compat/libcuda.so.1", "x")
    write("usr/lib/wsl/lib/libnvidia-ml.so.1", "x")

    files = read(LD_LIBRARY_PATH=f":/nowhere:/opt/own/:{tmp_path}/opt/own")

    cuda = files.copies_of("libcuda.so.1")
    assert [(item.real, item.place) for item in cuda] == [
        ("/opt/own/libcuda.so.1", "LD_LIBRARY_PATH"),
        (f"{tmp_path}/opt/own/libcuda.so.1", "LD_LIBRARY_PATH"),
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.570.124.06", "default"),
        ("/usr/local/cuda-12.2/compat/libcuda.so.1", "compat"),
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.535.54.03", "leftover"),
    ]
    assert [item.version for item in cuda] == [None, None, "570.124.06", None, "535.54.03"]
    assert cuda[-1].bytes == 0
    assert cuda[3].is_compat
    [nvml] = files.copies_of("libnvidia-ml.so.1")
    assert nvml.place == "wsl"


def test_mounted_and_owned_copies(read: Read, write: Write) -> None:
    injected = "/usr/lib64/libcuda.so.570.124.06"
    write(".dockerenv")
    for name in ("libcuda.so.535.54.03", "libcuda.so.570.124.06"):
        write(f"usr/lib64/{name}", "x")
    write(
        "proc/self/mountinfo",
        f"1 0 0:9 / / rw - overlay o rw\n2 1 8:1 {injected} {injected} ro - ext4 x ro\n",
    )
    write("var/lib/dpkg/info/libcuda1:amd64.list", "/.\n/usr/lib64/libcuda.so.535.54.03\n")
    write("var/lib/dpkg/info/libc6:amd64.list", "/usr/lib64/libcuda.so.570.124.06\n")

    old, new = read().copies_of("libcuda.so.1")

    assert (old.mounted, old.package) == (False, "libcuda1")
    assert (new.mounted, new.package) == (True, None)


def test_garbage_everywhere(read: Read, write: Write) -> None:
    """Nothing that is read here can be trusted to be text, or short, or there."""
    for path in (
        "proc/modules",
        "proc/cmdline",
        "proc/devices",
        "proc/version",
        "proc/cpuinfo",
        "proc/1/cgroup",
        "proc/self/cgroup",
        "proc/self/mountinfo",
        "proc/self/limits",
        "proc/driver/nvidia/version",
        "etc/ld.so.cache",
        "etc/group",
        "etc/modprobe.d/x.conf",
        "sys/bus/pci/devices/x/vendor",
    ):
        write(path, bytes(range(256)) * 40)
    files = read(LD_LIBRARY_PATH="\udcff:/proc/self/limits")
    assert files.copies == ()
    assert not files.gpus
