"""What the checks of the machine's files say, on facts made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.facts import H100, TARGET, host, no_driver, subject

from envforge.model.finding import Finding, Outcome
from envforge.model.machine import Driver, Machine
from envforge.verify.facts import (
    Container,
    DeviceNode,
    DriverCopy,
    GpuState,
    HostFacts,
    Kernel,
    LibraryAnswer,
    MachineFiles,
    PciDevice,
)
from envforge.verify.verify import judge

GPU = PciDevice(address="0000:17:00.0", device=0x2330, kind=0x030200, driver="nvidia")
DOCKER = Container(kind="docker", evidence="/.dockerenv")
NODES = tuple(DeviceNode(path=f"/dev/{name}") for name in ("nvidia0", "nvidiactl", "nvidia-uvm"))
LOADED = Kernel(release="6.8.0", modules=frozenset({"nvidia", "nvidia_uvm"}), driver="535.104.05")
CUDA = LibraryAnswer(library="/usr/lib/libcuda.so.1", init=0, version=12020, gpus=(H100,))
IDS = (
    "singularity-no-nv",
    "container-without-gpu",
    "container-capabilities-missing",
    "container-requires-newer-cuda",
    "slurm-no-gres",
    "wsl-libcuda-path",
    "nouveau-holds-gpu",
    "secure-boot-unsigned-module",
    "kernel-module-not-loaded",
    "kernel-module-not-built",
    "no-driver-at-all",
    "dev-nodes-permission",
    "driver-baked-into-image",
    "stale-cuda-compat",
    "cuda-unknown-999-uvm",
    "gsp-rminit-failed",
    "nccl-p2p-hang",
    "container-shm-too-small",
)


def files(**changes: Any) -> MachineFiles:
    """A GPU server's own."""
    return replace(MachineFiles(kernel=LOADED, pci=(GPU,), nodes=NODES), **changes)


def broken(code: int | None = 999, **changes: Any) -> HostFacts:
    """CUDA answers with a code, or is not there at all."""
    library = None if code is None else CUDA.library
    answer = LibraryAnswer(library=library, init=code, version=12020)
    return replace(host(), **{"cuda": answer, "files": files(), **changes})


def outcome(check: str, facts: HostFacts, **changes: Any) -> Outcome:
    [found] = judge(subject(host=facts, **changes), only=[check])
    return found


def finding(check: str, facts: HostFacts, **changes: Any) -> Finding:
    [found] = outcome(check, facts, **changes).findings
    return found


# --- where there is nothing to say ----------------------------------------------------------


@pytest.mark.parametrize("check", IDS)
def test_a_healthy_server(check: str) -> None:
    facts = host(files=files())
    assert outcome(check, facts).verdict in {"passed", "inapplicable"}


@pytest.mark.parametrize("check", IDS)
def test_a_cpu_build_needs_none_of_it(check: str) -> None:
    target = replace(TARGET, cuda=None)
    assert outcome(check, no_driver(files=MachineFiles()), target=target).verdict == "inapplicable"


@pytest.mark.parametrize("check", IDS)
def test_a_machine_that_is_described(check: str) -> None:
    machine = Machine(driver=Driver(version="535.104.05"), gpus=(H100,), origin="described")
    assert not outcome(check, HostFacts(machine=machine)).findings


@pytest.mark.parametrize("check", IDS)
def test_files_that_were_not_looked_at(check: str) -> None:
    """A driver that works is all that can be told then."""
    told = {"no-driver-at-all", "cuda-unknown-999-uvm"}
    assert outcome(check, host()).verdict == ("passed" if check in told else "unproven")


@pytest.mark.parametrize("check", IDS)
def test_a_machine_of_which_nothing_is_known(check: str) -> None:
    facts = no_driver(files=MachineFiles())
    assert outcome(check, facts).verdict in {"passed", "unproven", "inapplicable"}
    assert not outcome(check, facts, kind="host").findings


def test_the_machine_alone_wants_its_gpus() -> None:
    facts = broken(kernel_driver=None, files=files(kernel=Kernel(), nodes=()))
    facts = replace(facts, machine=Machine())
    assert finding("no-driver-at-all", facts, kind="host", target=None, prefix=None)


# --- nodes ----------------------------------------------------------------------------------


def node(name: str, **changes: Any) -> DeviceNode:
    return DeviceNode(path=f"/dev/{name}", **changes)


@pytest.mark.parametrize(
    ("nodes", "remedy"),
    [
        ([node("nvidiactl", mode=0o660, group=44, group_name="video", problem="EACCES")], "video"),
        ([node("nvidiactl", mode=0o600, owner=65534, problem="EACCES")], "chmod 0666"),
        ([node("nvidia-uvm", problem="EPERM")], "start the session anew"),
        ([node("nvidiactl"), node("nvidia0", problem="EPERM")], "ask the scheduler"),
    ],
)
def test_nodes_that_are_shut(nodes: list[DeviceNode], remedy: str) -> None:
    found = finding("dev-nodes-permission", broken(files=files(nodes=tuple(nodes))))
    assert remedy in found.remedy


@pytest.mark.parametrize(
    "nodes",
    [
        [node("nvidiactl"), node("nvidia0", problem="EACCES"), node("nvidia1")],
        [node("nvidiactl"), node("nvidia-caps/nvidia-cap1", problem="EACCES")],
        [node("nvidiactl"), node("nvidia0", problem="EIO")],
    ],
)
def test_nodes_that_are_other_peoples(nodes: list[DeviceNode]) -> None:
    facts = broken(files=files(nodes=tuple(nodes)))
    assert not outcome("dev-nodes-permission", facts).findings


def test_a_cgroup_in_a_container() -> None:
    rules = files(device_rules=("c 1:* rwm",), container=DOCKER)
    found = finding("dev-nodes-permission", broken(files=rules))
    assert "--device /dev/nvidiactl" in found.remedy


def test_nvml_refuses_and_every_node_is_open() -> None:
    facts = broken(0, nvml=LibraryAnswer(library="x", init=4))
    assert "NVML returned 4" in finding("dev-nodes-permission", facts).seen


# --- 999 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words", "remedy"),
    [
        ({"kernel": replace(LOADED, modules=frozenset({"nvidia"}))}, "not loaded", "modprobe"),
        ({"character_devices": {"nvidia": 195}}, "no device", "modprobe"),
        ({"nodes": NODES[:2]}, "missing", "modprobe"),
        ({"nodes": (*NODES[:2], node("nvidia-uvm", problem="EIO"))}, "(EIO)", "modprobe"),
        ({"nodes": NODES[:2], "container": DOCKER}, "missing", "--device /dev/nvidia-uvm"),
        (
            {"kernel": replace(LOADED, modules=frozenset({"nvidia"})), "container": DOCKER},
            "not loaded",
            "on the host",
        ),
        ({}, "does not answer", "rmmod"),
        ({"nodes": (node("dxg"),)}, "does not answer", "rmmod"),
    ],
)
def test_what_999_comes_from(changes: dict[str, Any], words: str, remedy: str) -> None:
    found = finding("cuda-unknown-999-uvm", broken(files=files(**changes)))
    assert words in found.message
    assert remedy in found.remedy


def test_other_codes_without_uvm() -> None:
    without = files(nodes=NODES[:2])
    assert finding("cuda-unknown-999-uvm", broken(3, files=without))
    assert not outcome("cuda-unknown-999-uvm", broken(3)).findings
    assert not outcome("cuda-unknown-999-uvm", broken(802, files=without)).findings


# --- the module -----------------------------------------------------------------------------


def unloaded(**changes: Any) -> HostFacts:
    kernel = Kernel(release="6.8.0", modules=frozenset({"ext4"}), **changes)
    held = (replace(GPU, driver=None),)
    facts = broken(100, kernel_driver=None, machine=Machine(), nvml=LibraryAnswer(init=9))
    return replace(facts, files=files(kernel=kernel, pci=held, nodes=()))


def test_how_a_module_is_built() -> None:
    built = {"built": (), "has_tree": True}
    assert (
        "apt install linux-headers-6.8.0"
        in finding("kernel-module-not-built", unloaded(**built)).remedy
    )
    facts = unloaded(**built, built_for=("6.5.0",), has_source=True)
    found = finding("kernel-module-not-built", replace(facts, cuda=LibraryAnswer()))
    assert "dkms autoinstall" in found.remedy
    assert "6.5.0" in found.remedy


def test_secure_boot_and_the_signature() -> None:
    there = {"built": ("/lib/modules/6.8.0/nvidia.ko",), "secure_boot": True}
    for signed, words in ((True, "not enrolled"), (False, "not signed"), (None, "trusts")):
        found = finding("secure-boot-unsigned-module", unloaded(**there, signed=signed))
        assert words in found.message
    forbidden = unloaded(**there, kept_out_by="/etc/modprobe.d/x.conf")
    assert not outcome("secure-boot-unsigned-module", forbidden).findings
    assert finding("kernel-module-not-loaded", forbidden)


def test_nouveau_by_its_module_alone() -> None:
    facts = unloaded()
    kernel = Kernel(modules=frozenset({"nouveau"}))
    facts = replace(facts, files=files(kernel=kernel, pci=(replace(GPU, driver=None),)))
    assert "nouveau" in finding("nouveau-holds-gpu", facts).message


# --- firmware -------------------------------------------------------------------------------


def test_an_old_gpu_on_the_open_modules() -> None:
    volta = replace(GPU, device=0x1DB4)
    kernel = replace(LOADED, flavour="open", log=("NVRM: GSP RmInitAdapter failed!",))
    facts = broken(100, files=files(pci=(volta,), kernel=kernel))
    facts = replace(facts, nvml=LibraryAnswer(library="x", init=0))
    found = finding("gsp-rminit-failed", facts)
    assert "proprietary" in found.remedy
    assert "RmInitAdapter" in found.seen


def test_gpus_that_nvml_lists_with_an_error_have_started() -> None:
    state = GpuState(index=0, error="lost")
    facts = broken(100, nvml=LibraryAnswer(library="x", init=0, states=(state,)))
    assert not outcome("gsp-rminit-failed", facts).findings


# --- containers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("docker", "--gpus all"),
        ("podman", "nvidia.com/gpu=all"),
        ("kubernetes", "limits"),
        ("lxc", "/dev/nvidiactl"),
    ],
)
def test_how_each_engine_is_asked(kind: str, remedy: str) -> None:
    inside = files(container=Container(kind=kind, evidence="x"), nodes=())
    assert remedy in finding("container-without-gpu", broken(None, files=inside)).remedy


def test_a_gpu_can_be_required_of_a_container() -> None:
    """Of one on a machine whose bus has no GPU, no option of the engine helps."""
    inside = MachineFiles(container=Container(kind="docker", evidence="x"), pci=None)
    facts = no_driver(files=inside)
    assert outcome("container-without-gpu", facts).verdict == "unproven"
    assert finding("container-without-gpu", facts, require_gpu=True).severity == "error"
    nowhere = no_driver(files=replace(inside, pci=()))
    assert outcome("container-without-gpu", nowhere, require_gpu=True).verdict == "unproven"
    assert finding("no-driver-at-all", nowhere, require_gpu=True).severity == "error"


def test_gpus_that_were_asked_for_and_are_on_no_bus() -> None:
    """An image that asks for all GPUs, on a machine without: as in CI."""
    inside = MachineFiles(container=Container(kind="docker", evidence="x"), pci=())
    facts = no_driver(files=inside, variables={"NVIDIA_VISIBLE_DEVICES": "all"})
    assert outcome("container-without-gpu", facts).verdict == "unproven"
    assert finding("container-without-gpu", facts, require_gpu=True).severity == "error"


def test_apptainer_on_a_machine_without_gpus() -> None:
    inside = MachineFiles(container=Container(kind="apptainer", evidence="x"), pci=())
    facts = no_driver(files=inside)
    assert finding("singularity-no-nv", facts).severity == "warning"
    assert finding("singularity-no-nv", facts, require_gpu=True).severity == "error"


def test_apptainer_that_hides_dev() -> None:
    inside = files(container=Container(kind="apptainer", evidence="x"), nodes=())
    assert "--bind /dev" in finding("singularity-no-nv", broken(100, files=inside)).remedy


def copy(path: str, **changes: Any) -> DriverCopy:
    return DriverCopy(name="libcuda.so.1", path=path, real=path, place="default", **changes)


@pytest.mark.parametrize(
    ("copies", "severity"),
    [
        ([copy("/usr/lib/libcuda.so.470.1.1")], "error"),
        ([copy("/usr/lib/libcuda.so.535.104.05", package="libcuda1")], "warning"),
        ([copy("/usr/lib/libcuda.so.1", bytes=0)], "error"),
        ([copy("/usr/lib/libcuda.so.535.104.05")], None),
        ([copy("/usr/lib/libcuda.so.470.1.1", mounted=True)], None),
        ([copy("/usr/local/cuda/compat/libcuda.so.470.1.1")], None),
        ([copy("/usr/lib/libcuda.so.1")], None),
    ],
)
def test_drivers_in_images(copies: list[DriverCopy], severity: str | None) -> None:
    facts = broken(803, files=files(container=DOCKER, copies=tuple(copies)))
    found = outcome("driver-baked-into-image", facts).findings
    assert [item.severity for item in found] == ([severity] if severity else [])


def test_two_drivers_in_an_image_on_a_machine_without_gpu() -> None:
    """They will be in the way wherever there is one."""
    copies = tuple(copy(f"/usr/lib/libcuda.so.{version}") for version in ("470.1.1", "535.1.1"))
    facts = no_driver(files=MachineFiles(container=DOCKER, copies=copies))
    found = finding("driver-baked-into-image", facts)
    assert (found.severity, "535.1.1" in found.seen) == ("warning", True)


def test_jetsons_have_no_nvml() -> None:
    facts = broken(0, files=files(container=DOCKER, nodes=(), is_tegra=True))
    facts = replace(facts, cuda=CUDA, nvml=LibraryAnswer())
    assert not outcome("container-capabilities-missing", facts).findings


# --- site -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variables",
    [{"SLURM_JOB_GPUS": "0"}, {"SLURM_GPUS": "h100:2"}, {"SLURM_GPUS_PER_NODE": "1"}],
)
def test_jobs_that_were_given_gpus(variables: dict[str, str]) -> None:
    facts = broken(100, variables={"SLURM_JOBID": "7", **variables})
    assert not outcome("slurm-no-gres", facts).findings


@pytest.mark.parametrize(
    ("code", "changes", "is_named"),
    [
        (100, {}, True),
        (803, {}, False),
        (999, {"nodes": (node("nvidiactl", problem="EPERM"),)}, True),
        (802, {"nodes": (node("nvidiactl", problem="EPERM"),)}, False),
        (100, {"kernel": Kernel()}, False),
    ],
)
def test_jobs_that_were_not(code: int, changes: dict[str, Any], is_named: bool) -> None:
    """Another fault of the machine is not Slurm's doing."""
    variables = {"SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "0"}
    facts = broken(code, files=files(**changes), variables=variables)
    assert bool(outcome("slurm-no-gres", facts).findings) is is_named


def two(**changes: Any) -> MachineFiles:
    return files(pci=(replace(GPU, iommu="DMA"), replace(GPU, iommu="DMA")), **changes)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"is_virtual": False}, "failed"),
        ({"is_virtual": True}, "passed"),
        ({"is_virtual": None}, "unproven"),
    ],
)
def test_peer_to_peer(changes: dict[str, Any], verdict: str) -> None:
    facts = host("535.104.05", "12.2", H100, H100, files=two(**changes))
    assert outcome("nccl-p2p-hang", facts).verdict == verdict


def test_nvlink_needs_no_pcie() -> None:
    linked = tuple(GpuState(index=index, links_active=18) for index in (0, 1))
    facts = host("535.104.05", "12.2", H100, H100, files=two(is_virtual=False))
    facts = replace(facts, nvml=replace(facts.nvml, states=linked))
    assert outcome("nccl-p2p-hang", facts).verdict == "passed"


@pytest.mark.parametrize(
    ("line", "is_named"),
    [
        (("intel_iommu=on",), True),
        (("intel_iommu=on,sm_on",), True),
        (("amd_iommu=on", "iommu=pt"), False),
        (("amd_iommu=on", "iommu.passthrough=1"), False),
        ((), False),
    ],
)
def test_old_kernels_do_not_tell_the_type(line: tuple[str, ...], is_named: bool) -> None:
    devices = (replace(GPU, iommu=""), replace(GPU, iommu=""))
    kernel = replace(LOADED, command_line=line)
    facts = host("535.104.05", "12.2", H100, H100)
    facts = replace(facts, files=files(pci=devices, kernel=kernel, is_virtual=False))
    assert bool(outcome("nccl-p2p-hang", facts).findings) is is_named
