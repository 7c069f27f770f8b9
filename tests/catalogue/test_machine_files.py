"""Failures that the machine's own files tell of: kernel, nodes, containers, WSL, Slurm."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fakes.situation import DRIVER, KERNEL, Situation, covers

GPU = "0000:17:00.0"
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
STATIC = {"level": "static"}
H200 = ("NVIDIA H200", "9.0", 150_754_820_096)
RTX_4090 = ("NVIDIA GeForce RTX 4090", "8.9", 25_757_220_864)


def bind(situation: Situation, driver: str | None, address: str = GPU) -> None:
    """Have a kernel driver hold the GPU, or none."""
    link = situation.root / f"sys/bus/pci/devices/{address}/driver"
    link.unlink(missing_ok=True)
    if driver is not None:
        folder = situation.root / f"sys/bus/pci/drivers/{driver}"
        folder.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../../drivers/{driver}")


def unload(situation: Situation) -> None:
    """The kernel module is not loaded: no nodes, and neither library gets anywhere."""
    situation.remove("proc/driver", "dev")
    situation.write("proc/modules", "ext4 999424 1 - Live 0x0\n")
    situation.write("proc/devices", "Character devices:\n  1 mem\n")
    bind(situation, None)
    situation.driver(cuinit=100, nvml=9)


def no_libraries(situation: Situation) -> None:
    """Neither library of the driver can be loaded."""
    situation.driver(libraries=())
    for path in (situation.root / "usr/lib/x86_64-linux-gnu").glob("lib[cn][uv][di]*"):
        path.unlink()


def in_docker(situation: Situation) -> None:
    situation.write(".dockerenv")
    situation.write("proc/1/cgroup", "0::/\n")
    situation.write(
        "proc/self/mountinfo",
        "22 1 0:9 / / rw - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/AB\n"
        "23 22 0:5 / /dev/shm rw - tmpfs shm rw,size=8388608k\n",
    )


def inject(situation: Situation) -> None:
    """The runtime mounts the host's libraries, file by file."""
    mounts = (situation.root / "proc/self/mountinfo").read_text()
    for number, name in enumerate(("libcuda", "libnvidia-ml")):
        path = f"/usr/lib/x86_64-linux-gnu/{name}.so.{DRIVER}"
        mounts += f"{30 + number} 22 8:1 {path} {path} ro - ext4 /dev/sda1 ro\n"
    situation.write("proc/self/mountinfo", mounts)


# --- the kernel module ----------------------------------------------------------------------


@covers("kernel-module-not-built")
@pytest.mark.parametrize("state", ["other kernel", "no tree", "source only"])
def test_a_kernel_update_without_the_module(situation: Situation, state: str) -> None:
    unload(situation)
    situation.remove(f"lib/modules/{KERNEL}")
    if state == "other kernel":
        situation.write("lib/modules/5.15.0-100-generic/updates/dkms/nvidia.ko.xz")
    if state != "no tree":
        situation.write(f"lib/modules/{KERNEL}/kernel/fs/ext4.ko")
        situation.write(f"lib/modules/{KERNEL}/kernel/drivers/video/fbdev/nvidia/nvidiafb.ko")
    if state == "source only":
        situation.write("usr/src/nvidia-570.124.06/dkms.conf")

    report = situation.names("kernel-module-not-built", **STATIC)

    [finding] = report.findings
    assert KERNEL in finding.message
    expected = {"other kernel": "5.15.0-100", "no tree": "reboot", "source only": "dkms"}
    assert expected[state] in finding.remedy


@covers("kernel-module-not-built")
def test_a_driver_without_module_where_the_kernel_is_not_told(situation: Situation) -> None:
    """A bus and nothing else to look at: then NVML says whether the module is loaded."""
    unload(situation)
    situation.remove("proc", "lib/modules")

    [finding] = situation.names("kernel-module-not-built", **STATIC).findings

    assert "$(uname -r)" in finding.remedy


@covers("kernel-module-not-loaded")
@pytest.mark.parametrize(
    "place",
    ["extra/nvidia/nvidia.ko.xz", "kernel/nvidia-570/nvidia.ko", "updates/dkms/nvidia-current.ko"],
)
def test_a_module_that_is_only_not_loaded(situation: Situation, place: str) -> None:
    """Distributions keep and name it differently."""
    unload(situation)
    situation.remove(f"lib/modules/{KERNEL}")
    situation.write(f"lib/modules/{KERNEL}/{place}")
    situation.write("etc/modprobe.d/off.conf", "# no nvidia\nblacklist nvidia\n")

    [finding] = situation.names("kernel-module-not-loaded", **STATIC).findings

    assert "/etc/modprobe.d/off.conf" in finding.message


@covers("nouveau-holds-gpu")
@pytest.mark.parametrize("holder", ["nouveau", "nova_core"])
def test_nouveau_took_the_gpu(situation: Situation, holder: str) -> None:
    unload(situation)
    situation.write("proc/modules", f"{holder} 2334720 1 - Live 0x0\n")
    bind(situation, holder)

    situation.names("nouveau-holds-gpu", **STATIC)


def test_nouveau_where_no_bus_is_in_sight(situation: Situation) -> None:
    unload(situation)
    situation.write("proc/modules", "nouveau 2334720 1 - Live 0x0\n")
    situation.remove("sys/bus/pci/devices")

    situation.names("nouveau-holds-gpu", **STATIC)


def test_a_display_card_on_nouveau_beside_a_gpu_that_works(situation: Situation) -> None:
    for name, text in (("vendor", "0x10de"), ("device", "0x1287"), ("class", "0x030000")):
        situation.write(f"sys/bus/pci/devices/0000:01:00.0/{name}", f"{text}\n")
    bind(situation, "nouveau", "0000:01:00.0")

    situation.is_healthy(**STATIC)


@covers("secure-boot-unsigned-module")
def test_secure_boot_refuses_the_module(situation: Situation) -> None:
    unload(situation)
    situation.write(SECURE_BOOT, b"\x06\0\0\0\x01")
    situation.write("var/log/kern.log", "kernel: Loading of unsigned module is rejected\n")

    [finding] = situation.names("secure-boot-unsigned-module", **STATIC).findings

    assert "is rejected" in finding.seen


def test_secure_boot_where_no_bus_is_in_sight(situation: Situation) -> None:
    unload(situation)
    situation.write(SECURE_BOOT, b"\x06\0\0\0\x01")
    situation.remove("sys/bus/pci/devices")

    situation.names("secure-boot-unsigned-module", **STATIC)


def test_secure_boot_with_a_module_that_loads(situation: Situation) -> None:
    situation.write(SECURE_BOOT, b"\x06\0\0\0\x01")

    situation.is_healthy(**STATIC)


@covers("no-driver-at-all")
def test_no_driver_where_a_gpu_is_required(situation: Situation) -> None:
    situation.no_gpu()

    situation.names("no-driver-at-all", require_gpu=True, **STATIC)


def test_a_gpu_and_nobody_installed_a_driver(situation: Situation) -> None:
    unload(situation)
    situation.remove("lib/modules")
    situation.write(f"lib/modules/{KERNEL}/kernel/fs/ext4.ko")
    no_libraries(situation)

    [finding] = situation.names("no-driver-at-all", **STATIC).findings

    assert GPU in finding.message


def test_gpus_that_are_for_virtual_machines(situation: Situation) -> None:
    """The machine has none for itself, as a hypervisor's host."""
    unload(situation)
    no_libraries(situation)
    situation.remove(f"lib/modules/{KERNEL}")
    bind(situation, "vfio-pci")

    situation.is_healthy(**STATIC)


def test_a_jetson(situation: Situation) -> None:
    """A GPU on no bus, nodes of its own, and no NVML."""
    unload(situation)
    situation.remove("sys/bus/pci/devices")
    for node in ("nvmap", "nvhost-gpu", "nvhost-ctrl-gpu"):
        situation.write(f"dev/{node}", mode=0o660)
    situation.write("etc/nv_tegra_release", "# R36 (release), REVISION: 4.0\n")
    situation.driver(libraries=("libcuda.so.1",))

    situation.is_healthy(**STATIC)


# --- device nodes and firmware --------------------------------------------------------------


@covers("dev-nodes-permission")
def test_nodes_for_root_only(situation: Situation) -> None:
    for node in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        situation.write(f"dev/{node}", mode=0o600)
    situation.write("etc/modprobe.d/nvidia.conf", "options nvidia NVreg_DeviceFileMode=0600\n")
    situation.driver(cuinit=100, nvml=4)

    [finding] = situation.names("dev-nodes-permission", **STATIC).findings

    assert "0600" in finding.seen
    assert "NVreg_DeviceFileMode=0666" in finding.remedy


@covers("dev-nodes-permission")
def test_a_device_cgroup_without_the_gpus(situation: Situation) -> None:
    """As in a container whose rules were written anew without them."""
    in_docker(situation)
    inject(situation)
    situation.write("proc/self/cgroup", "5:devices:/docker/abc\n")
    situation.write("sys/fs/cgroup/devices/devices.list", "c 1:* rwm\nc 136:* rwm\n")
    situation.driver(cuinit=999, nvml=999)

    [finding] = situation.names("dev-nodes-permission", **STATIC).findings

    assert "cgroup" in finding.message


def test_a_device_cgroup_with_the_gpus(situation: Situation) -> None:
    situation.write("proc/self/cgroup", "5:devices:/user.slice\n")
    situation.write("sys/fs/cgroup/devices/user.slice/devices.list", "c 195:* rw\nc 510:* rw\n")

    situation.is_healthy(**STATIC)


@covers("cuda-unknown-999-uvm")
@pytest.mark.parametrize("missing", ["module", "node", "nothing"])
def test_cuda_without_uvm(situation: Situation, missing: str) -> None:
    situation.driver(cuinit=999)
    if missing == "module":
        text = (situation.root / "proc/modules").read_text()
        situation.write("proc/modules", text.replace("nvidia_uvm", "xfs"))
    elif missing == "node":
        situation.remove("dev/nvidia-uvm")

    [finding] = situation.names("cuda-unknown-999-uvm", **STATIC).findings

    expected = {"module": "modprobe nvidia_uvm", "node": "modprobe", "nothing": "rmmod nvidia_uvm"}
    assert expected[missing] in finding.remedy


@covers("gsp-rminit-failed")
def test_a_driver_that_starts_no_gpu(situation: Situation) -> None:
    situation.driver(gpus=())

    situation.names("gsp-rminit-failed", **STATIC)


@covers("gsp-rminit-failed")
def test_blackwell_on_the_proprietary_modules(situation: Situation) -> None:
    situation.driver(gpus=())
    situation.write(f"sys/bus/pci/devices/{GPU}/device", "0x2b85\n")

    [finding] = situation.names("gsp-rminit-failed", **STATIC).findings

    assert "open" in finding.remedy


# --- containers -----------------------------------------------------------------------------


@covers("container-without-gpu")
@pytest.mark.parametrize("sight", ["nothing", "host's proc and sys"])
def test_a_container_that_got_no_gpu(situation: Situation, sight: str) -> None:
    situation.env["NVIDIA_VISIBLE_DEVICES"] = "all"
    if sight == "nothing":
        situation.no_gpu()
    else:
        no_libraries(situation)
        situation.remove("dev")
    in_docker(situation)

    [finding] = situation.names("container-without-gpu", **STATIC).findings

    assert "--gpus all" in finding.remedy


@covers("container-without-gpu")
def test_a_pod_that_asked_for_no_gpu(situation: Situation) -> None:
    situation.env["KUBERNETES_SERVICE_HOST"] = "10.0.0.1"
    no_libraries(situation)
    situation.remove("dev")

    [finding] = situation.names("container-without-gpu", **STATIC).findings

    assert "nvidia.com/gpu" in finding.remedy


@pytest.mark.parametrize("variables", [{}, {"NVIDIA_VISIBLE_DEVICES": "void"}])
def test_a_container_on_a_machine_without_gpu(
    situation: Situation, variables: dict[str, str]
) -> None:
    situation.no_gpu()
    in_docker(situation)
    situation.env.update(variables)

    situation.is_healthy(**STATIC)


def test_a_cuda_image_on_a_ci_runner(situation: Situation) -> None:
    """The image always says `all`; the bus says that there is nothing to give."""
    situation.no_gpu()
    in_docker(situation)
    situation.env["NVIDIA_VISIBLE_DEVICES"] = "all"
    situation.write("sys/bus/pci/devices/0000:00:01.0/vendor", "0x8086\n")

    situation.is_healthy(**STATIC)


@covers("container-capabilities-missing")
@pytest.mark.parametrize(
    ("loaded", "value"), [("libnvidia-ml.so.1", "utility"), ("libcuda.so.1", "compute")]
)
def test_half_a_driver_in_a_container(situation: Situation, loaded: str, value: str) -> None:
    in_docker(situation)
    inject(situation)
    situation.env["NVIDIA_DRIVER_CAPABILITIES"] = value
    situation.driver(libraries=(loaded,))

    [finding] = situation.names("container-capabilities-missing", **STATIC).findings

    assert "compute,utility" in finding.remedy


@covers("container-capabilities-missing")
@pytest.mark.parametrize(
    ("loaded", "value"), [("libnvidia-ml.so.1", "utility"), ("libcuda.so.1", "compute")]
)
def test_half_a_driver_where_dev_tells_nothing(
    situation: Situation, loaded: str, value: str
) -> None:
    situation.no_gpu()
    situation.env["NVIDIA_DRIVER_CAPABILITIES"] = value
    situation.driver(libraries=(loaded,))

    situation.names("container-capabilities-missing", **STATIC)


@covers("container-capabilities-missing")
def test_a_container_whose_loader_cache_is_old(situation: Situation) -> None:
    in_docker(situation)
    inject(situation)
    situation.env["NVIDIA_DRIVER_CAPABILITIES"] = "all"
    situation.driver(libraries=())

    [finding] = situation.names("container-capabilities-missing", **STATIC).findings

    assert finding.remedy.startswith("ldconfig")


@covers("container-requires-newer-cuda")
@pytest.mark.parametrize(
    "asked",
    [
        "cuda>=12.9",
        "cuda>=13.0 brand=geforce,driver>=570,driver<571",
        "cuda>=12.9 brand=nvidia,driver>=535,driver<536 brand=tesla,driver>=470,driver<471",
    ],
)
def test_an_image_for_a_newer_cuda(situation: Situation, asked: str) -> None:
    in_docker(situation)
    inject(situation)
    situation.env["NVIDIA_REQUIRE_CUDA"] = asked

    situation.names("container-requires-newer-cuda", **STATIC)


@pytest.mark.parametrize(
    "variables",
    [
        {"NVIDIA_REQUIRE_CUDA": "cuda>=12.6 brand=tesla,driver>=470,driver<471"},
        {"NVIDIA_REQUIRE_CUDA": "cuda>=13.0 brand=nvidia,driver>=570,driver<571"},
        {"NVIDIA_REQUIRE_CUDA": "cuda>=13.0", "NVIDIA_DISABLE_REQUIRE": "true"},
        {"NVIDIA_REQUIRE_CUDA": "cuda>=12.0", "NVIDIA_REQUIRE_DRIVER": "driver>=535"},
        {"NVIDIA_REQUIRE_CUDA": "words that nobody knows"},
    ],
)
def test_an_image_that_fits(situation: Situation, variables: dict[str, str]) -> None:
    in_docker(situation)
    inject(situation)
    situation.env.update(variables)

    situation.is_healthy(**STATIC)


@covers("driver-baked-into-image")
@pytest.mark.parametrize("package", [True, False])
def test_a_driver_in_the_image(situation: Situation, package: bool) -> None:
    in_docker(situation)
    inject(situation)
    old = "usr/lib/x86_64-linux-gnu/libcuda.so.535.183.01"
    situation.write(old, "stand-in\n")
    if package:
        situation.write("var/lib/dpkg/info/libnvidia-compute-535:amd64.list", f"/.\n/{old}\n")
    situation.driver(cuinit=803)

    [finding] = situation.names("driver-baked-into-image", **STATIC).findings

    assert ("purge -y libnvidia-compute-535" if package else "rm -f") in finding.remedy


def test_a_container_as_the_runtime_makes_it(situation: Situation) -> None:
    in_docker(situation)
    inject(situation)
    situation.env["NVIDIA_VISIBLE_DEVICES"] = "all"
    situation.env["NVIDIA_DRIVER_CAPABILITIES"] = "compute,utility"
    situation.write("usr/local/cuda-12.9/compat/libcuda.so.575.57.08", "x")
    (situation.root / "usr/local/cuda-12.9/compat/libcuda.so.1").symlink_to("libcuda.so.575.57.08")

    situation.is_healthy(**STATIC)


def test_a_pod_with_a_gpu(situation: Situation) -> None:
    """Only its own GPU's node, of all those on the bus."""
    situation.env |= {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "NVIDIA_VISIBLE_DEVICES": "GPU-2ee6c9a2",
    }
    (situation.root / "dev/nvidia0").rename(situation.root / "dev/nvidia3")
    for address in ("0000:18:00.0", "0000:19:00.0"):
        for name, text in (("vendor", "0x10de"), ("device", "0x2335"), ("class", "0x030200")):
            situation.write(f"sys/bus/pci/devices/{address}/{name}", f"{text}\n")
        bind(situation, "nvidia", address)
    situation.write("proc/1/cgroup", "0::/kubepods.slice/kubepods-pod1.slice/cri-1.scope\n")
    situation.write(
        "proc/self/mountinfo",
        "22 1 0:9 / / rw - overlay overlay rw\n"
        "23 22 0:5 / /dev/shm rw - tmpfs shm rw,size=65536k\n",
    )
    inject(situation)

    situation.is_healthy(**STATIC)


@covers("container-shm-too-small")
def test_several_gpus_and_64_mb(situation: Situation) -> None:
    in_docker(situation)
    inject(situation)
    situation.write("dev/nvidia1", mode=0o666)
    text = (situation.root / "proc/self/mountinfo").read_text()
    situation.write("proc/self/mountinfo", text.replace("8388608k", "65536k"))
    situation.driver(gpus=(H200, H200))

    situation.names("container-shm-too-small", **STATIC)


@covers("singularity-no-nv")
@pytest.mark.parametrize("variable", ["SINGULARITY_CONTAINER", "APPTAINER_CONTAINER"])
@pytest.mark.parametrize("where", ["GPU node", "nowhere known"])
def test_apptainer_without_nv(situation: Situation, variable: str, where: str) -> None:
    situation.env[variable] = "/images/torch.sif"
    if where == "GPU node":
        no_libraries(situation)
    else:
        situation.no_gpu()

    [finding] = situation.names("singularity-no-nv", **STATIC).findings

    assert "--nv" in finding.remedy
    assert finding.severity == ("error" if where == "GPU node" else "warning")


def test_apptainer_with_nv(situation: Situation) -> None:
    situation.env["APPTAINER_CONTAINER"] = "/images/torch.sif"
    libraries = situation.root / ".singularity.d/libs"
    libraries.mkdir(parents=True)
    for path in (situation.root / "usr/lib/x86_64-linux-gnu").glob("lib[cn][uv][di]*"):
        path.unlink()
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        situation.write(f".singularity.d/libs/{name}", "x")

    situation.is_healthy(**STATIC)


@covers("singularity-no-nv")
def test_apptainer_on_a_login_node(situation: Situation) -> None:
    """A word for an environment that is made for GPUs; no failure."""
    situation.no_gpu()
    situation.env["APPTAINER_CONTAINER"] = "/images/torch.sif"
    situation.write("sys/bus/pci/devices/0000:00:01.0/vendor", "0x8086\n")

    [finding] = situation.names("singularity-no-nv", **STATIC).findings

    assert finding.severity == "warning"


# --- WSL, Slurm, NCCL, cuda-compat ----------------------------------------------------------


def in_wsl(situation: Situation) -> None:
    situation.remove("proc/driver", "dev", "sys", "lib/modules")
    situation.write("proc/modules", "")
    situation.write("proc/devices", "Character devices:\n  1 mem\n")
    release = "5.15.153.1-microsoft-standard-WSL2"
    situation.write("proc/sys/kernel/osrelease", f"{release}\n")
    situation.write("proc/version", f"Linux version {release} (gcc) #1 SMP\n")
    situation.write("dev/dxg", mode=0o666)
    for path in (situation.root / "usr/lib/x86_64-linux-gnu").glob("lib[cn][uv][di]*"):
        path.unlink()
    for name in ("libcuda.so.1", "libnvidia-ml.so.1", "libcuda.so.1.1"):
        situation.write(f"usr/lib/wsl/lib/{name}", "x")


@covers("wsl-libcuda-path")
@pytest.mark.parametrize("code", [0, 100, 999])
def test_a_linux_driver_inside_wsl(situation: Situation, code: int) -> None:
    in_wsl(situation)
    situation.write("usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15", "x")
    link = situation.root / "usr/lib/x86_64-linux-gnu/libcuda.so.1"
    link.symlink_to("libcuda.so.550.54.15")
    situation.driver(cuinit=code)

    situation.names("wsl-libcuda-path", **STATIC)


@covers("wsl-libcuda-path")
def test_wsl_whose_loader_does_not_find_the_driver(situation: Situation) -> None:
    in_wsl(situation)
    situation.driver(libraries=("libnvidia-ml.so.1",))

    [finding] = situation.names("wsl-libcuda-path", **STATIC).findings

    assert "/usr/lib/wsl/lib" in finding.remedy


@pytest.mark.parametrize("link", [False, True])
def test_wsl_as_it_should_be(situation: Situation, link: bool) -> None:
    in_wsl(situation)
    if link:
        (situation.root / "usr/lib/x86_64-linux-gnu/libcuda.so.1").symlink_to(
            "/usr/lib/wsl/lib/libcuda.so.1"
        )

    situation.is_healthy(**STATIC)


@covers("slurm-no-gres")
@pytest.mark.parametrize("how", ["shut nodes", "NoDevFiles", "no device"])
def test_a_job_without_gpus(situation: Situation, how: str) -> None:
    situation.env |= {"SLURM_JOB_ID": "4711", "SLURM_GPUS_ON_NODE": "0"}
    situation.driver(cuinit=100)
    if how == "shut nodes":
        for node in ("nvidia0", "nvidiactl", "nvidia-uvm"):
            situation.write(f"dev/{node}", mode=0o000)
    elif how == "NoDevFiles":
        situation.env["CUDA_VISIBLE_DEVICES"] = "NoDevFiles"

    [finding] = situation.names("slurm-no-gres", **STATIC).findings

    assert "4711" in finding.message
    assert "--gres=gpu:1" in finding.remedy


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": "0"},
        {"SLURM_GPUS_ON_NODE": "1"},
        {},
    ],
)
def test_a_job_that_can_use_gpus(situation: Situation, variables: dict[str, str]) -> None:
    """Also on a cluster that keeps no GPU from anybody."""
    situation.env |= {"SLURM_JOB_ID": "4711", **variables}

    situation.is_healthy(**STATIC)


def test_a_job_on_a_node_without_gpus(situation: Situation) -> None:
    situation.no_gpu()
    situation.env["SLURM_JOB_ID"] = "4711"

    situation.is_healthy(**STATIC)
    situation.names("slurm-no-gres", require_gpu=True, **STATIC)


def two_gpus(situation: Situation, iommu: str | None, *, hypervisor: bool = False) -> None:
    other = "0000:65:00.0"
    for name, text in (("vendor", "0x10de"), ("device", "0x2684"), ("class", "0x030000")):
        situation.write(f"sys/bus/pci/devices/{other}/{name}", f"{text}\n")
    bind(situation, "nvidia", other)
    situation.write("dev/nvidia1", mode=0o666)
    for number, address in enumerate((GPU, other)):
        group = situation.root / f"sys/kernel/iommu_groups/{number}"
        (group / "devices" / address).mkdir(parents=True)
        if iommu is not None:
            (group / "type").write_text(f"{iommu}\n")
        link = situation.root / f"sys/bus/pci/devices/{address}/iommu_group"
        link.symlink_to(f"../../../../kernel/iommu_groups/{number}")
    if not hypervisor:
        text = (situation.root / "proc/cpuinfo").read_text()
        situation.write("proc/cpuinfo", text.replace(" hypervisor", ""))
    situation.driver(gpus=(RTX_4090, RTX_4090))


@covers("nccl-p2p-hang")
@pytest.mark.parametrize("iommu", ["DMA-FQ", "DMA", None])
def test_an_iommu_between_gpus(situation: Situation, iommu: str | None) -> None:
    two_gpus(situation, iommu)
    situation.write("proc/cmdline", "root=/dev/sda1 intel_iommu=on quiet\n")

    [finding] = situation.names("nccl-p2p-hang", **STATIC).findings

    assert finding.severity == "warning"


def test_an_iommu_that_was_asked_for_by_name(situation: Situation) -> None:
    """Nothing tells whether the machine is a virtual one."""
    two_gpus(situation, "DMA")
    situation.write("proc/cmdline", "root=/dev/sda1 amd_iommu=on\n")
    situation.remove("proc/cpuinfo")

    situation.names("nccl-p2p-hang", **STATIC)


@pytest.mark.parametrize("case", ["identity", "pt", "virtual", "variable"])
def test_gpus_that_may_talk(situation: Situation, case: str) -> None:
    kind = {"identity": "identity", "pt": None}.get(case, "DMA-FQ")
    two_gpus(situation, kind, hypervisor=case == "virtual")
    situation.write("proc/cmdline", "root=/dev/sda1 intel_iommu=on iommu=pt\n")
    if case == "variable":
        situation.env["NCCL_P2P_DISABLE"] = "1"

    situation.is_healthy(**STATIC)


@covers("stale-cuda-compat")
@pytest.mark.parametrize("code", [0, 999])
def test_an_old_compat_before_the_driver(situation: Situation, code: int) -> None:
    compat(situation, "535.54.03")
    situation.env["STUB_CUINIT"] = str(code)

    [finding] = situation.names("stale-cuda-compat", **STATIC).findings

    assert finding.severity == ("error" if code else "warning")


@pytest.mark.parametrize("version", ["575.57.08", DRIVER])
def test_a_compat_that_is_newer_than_the_driver(situation: Situation, version: str) -> None:
    compat(situation, version)

    situation.is_healthy(**STATIC)


def compat(situation: Situation, version: str) -> None:
    """An image's folder of cuda-compat, first in LD_LIBRARY_PATH."""
    folder = situation.base / "image/usr/local/cuda/compat"
    folder.mkdir(parents=True)
    stub = Path(situation.env["LD_LIBRARY_PATH"])
    shutil.copy(stub / "libcuda.so.1", folder / f"libcuda.so.{version}")
    (folder / "libcuda.so.1").symlink_to(f"libcuda.so.{version}")
    situation.env["LD_LIBRARY_PATH"] = f"{folder}:{stub}"
