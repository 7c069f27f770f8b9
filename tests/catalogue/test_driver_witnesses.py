"""What libcuda, NVML and nvidia-smi say of a broken machine, and of those that only look broken."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes.situation import CUDA, DRIVER, Situation, covers
from fakes.stub_driver import H200, RTX_5090, V100, VGPU, stub_driver

GIB = 2**30
SLOW_GPU = ("NVIDIA RTX A2000", "8.6", 6 * GIB)
H100_SXM = ("NVIDIA H100 80GB HBM3", "9.0", 85_520_809_984)
FULL = {"free": 12 * 2**20}
SLICE = "MIG-1b2c3d4e-0000-5111-8222-333344445555:NVIDIA H200 MIG 1g.18gb:18790481920:18253611008"


def kernel_module(situation: Situation, version: str) -> None:
    """Let the kernel module and the libraries of the machine be of this version."""
    line = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build"
    situation.write("proc/driver/nvidia/version", f"{line}\nGCC version: 12\n")
    folder = situation.root / "usr/lib/x86_64-linux-gnu"
    for name in ("libcuda.so", "libnvidia-ml.so"):
        for old in folder.glob(f"{name}.*"):
            old.unlink()
        (folder / f"{name}.{version}").write_bytes(b"stand-in\n")
        (folder / f"{name}.1").symlink_to(f"{name}.{version}")


def nvidia_smi(situation: Situation, answers: Mapping[str, str], status: int = 0) -> None:
    """A program on PATH that answers by what its arguments hold; nothing to anything else."""
    folder = situation.base / "programs"
    folder.mkdir(exist_ok=True)
    cases = [f"  *'{words}'*) cat <<'END'\n{text}\nEND\n;;" for words, text in answers.items()]
    program = folder / "nvidia-smi"
    program.write_text(
        "\n".join(["#!/bin/sh", 'case "$*" in', *cases, "esac", f"exit {status}", ""])
    )
    program.chmod(0o755)
    situation.env["PATH"] = f"{folder}{os.pathsep}{situation.env['PATH']}"


def row(driver: str = DRIVER, number: int = 0) -> str:
    """A line of `--query-gpu` about the stub's GPU of this number."""
    uuid = f"GPU-{0xC0DE0000 + number:08x}-57ab-4d21-9e0c-{0x5EED + number:012x}"
    bus = f"00000000:{0x17 + 0x12 * number:02X}:00.0"
    return f"{number}, NVIDIA H200, {uuid}, {bus}, {driver}, 143771"


# --- versions -------------------------------------------------------------------------------


@covers("driver-too-old")
def test_a_driver_of_the_major_before(situation: Situation) -> None:
    """CUDA 12.6 on driver 470; the remedy is an environment for CUDA 11."""
    kernel_module(situation, "470.82.01")
    situation.driver(driver="470.82.01", cuda="11.4", gpus=[V100])

    report = situation.names("driver-too-old", beside=["cudnn-drops-gpu"], level="static")

    assert "470.82.01" in report.findings[0].message
    assert CUDA in report.findings[0].message


@pytest.mark.parametrize(("version", "cuda"), [("525.60.13", "12.0"), ("580.65.06", "13.0")])
def test_an_older_minor_and_a_newer_major_are_healthy(
    situation: Situation, version: str, cuda: str
) -> None:
    """Minor-version compatibility, and drivers run what is older."""
    kernel_module(situation, version)
    situation.driver(driver=version, cuda=cuda)
    situation.is_healthy(level="static")


@covers("driver-library-mismatch-nvml")
@pytest.mark.parametrize("cuinit", [0, 803])
def test_an_update_without_a_reboot(situation: Situation, cuinit: int) -> None:
    """NVML 18, and whatever cuInit makes of it."""
    kernel_module(situation, "550.54.14")
    situation.driver(nvml=18, cuinit=cuinit, version="550.144.03")
    situation.write("proc/driver/nvidia/version", "NVRM version: Kernel Module  550.54.14  Thu\n")

    report = situation.names("driver-library-mismatch-nvml", level="static")

    assert "550.54.14" in report.findings[0].seen
    assert "550.144.03" in report.findings[0].seen


@covers("driver-library-mismatch-nvml")
def test_libraries_on_disk_tell_it_where_none_can_be_loaded(situation: Situation) -> None:
    """The links of the machine's own folders lead to another version than the kernel's."""
    kernel_module(situation, "550.144.03")
    situation.write("proc/driver/nvidia/version", "NVRM version: Kernel Module  550.54.14  Thu\n")
    situation.driver(libraries=[])
    situation.names("driver-library-mismatch-nvml", level="static")


@covers("driver-library-mismatch-nvml")
def test_nvml_of_another_version_than_the_module(situation: Situation) -> None:
    """By its own word."""
    situation.driver(driver="535.104.05")
    situation.names("driver-library-mismatch-nvml", level="static")


def test_forward_compatibility_is_healthy(situation: Situation, tmp_path: Path) -> None:
    """A newer libcuda from cuda-compat, which starts; NVML is the driver's own."""
    kernel_module(situation, "535.104.05")
    compat = tmp_path / "cuda-12.6" / "compat"
    compat.mkdir(parents=True)
    own = stub_driver(version="535.104.05")["LD_LIBRARY_PATH"]
    newer = Path(stub_driver(version="560.35.05")["LD_LIBRARY_PATH"])
    (compat / "libcuda.so.560.35.05").write_bytes((newer / "libcuda.so.560.35.05").read_bytes())
    (compat / "libcuda.so.1").symlink_to("libcuda.so.560.35.05")
    situation.driver(driver="535.104.05", cuda="12.6")
    situation.env["LD_LIBRARY_PATH"] = f"{compat}:{own}"
    situation.is_healthy(level="static")


@covers("cuda-803-driver-combination")
def test_a_foreign_libcuda_before_the_drivers_own(situation: Situation) -> None:
    """The remedy takes its folder out of LD_LIBRARY_PATH, and leaves the rest."""
    foreign = situation.base / "cuda-11.6"
    foreign.mkdir()
    built = Path(stub_driver(version="510.47.03")["LD_LIBRARY_PATH"])
    (foreign / "libcuda.so.1").symlink_to("libcuda.so.510.47.03")
    shutil.copy(built / "libcuda.so.510.47.03", foreign)
    situation.driver(cuinit=803)
    own = situation.env["LD_LIBRARY_PATH"]
    situation.env["LD_LIBRARY_PATH"] = f"{foreign}:{own}"

    report = situation.names("cuda-803-driver-combination", level="static")

    assert "510.47.03" in report.findings[0].message
    assert report.findings[0].remedy == f"export LD_LIBRARY_PATH={own}"


@covers("cuda-803-driver-combination")
def test_forward_compatibility_on_a_board_without_it(situation: Situation) -> None:
    """804 on a GeForce."""
    situation.driver(cuinit=804, gpus=[("NVIDIA GeForce RTX 3090", "8.6", 24 * GIB)])
    report = situation.names("cuda-803-driver-combination", level="static")
    assert "data centre boards" in report.findings[0].message


# --- codes of cuInit ------------------------------------------------------------------------


@covers("fabric-not-ready-802")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "fabric manager"),
        ({"states": [{"fabric": "2 0"}]}, "has not ended setting up"),
        ({"states": [{"fabric": "3 999"}]}, "failed to set up"),
    ],
)
def test_a_fabric_that_is_not_ready(
    situation: Situation, changes: dict[str, Any], says: str
) -> None:
    """What NVML tells of it."""
    situation.driver(cuinit=802, **changes)
    report = situation.names("fabric-not-ready-802", level="static")
    assert says in report.findings[0].message


@covers("fabric-not-ready-802")
def test_a_fabric_manager_of_another_version(situation: Situation) -> None:
    """By the package database; named with the version to install."""
    situation.driver(cuinit=802)
    situation.write("dev/nvidia-nvswitch0")
    situation.write(
        "var/lib/dpkg/status",
        "Package: nvidia-fabricmanager-570\nStatus: install ok installed\n"
        "Architecture: amd64\nVersion: 570.86.15-1\n\nPackage: zsh\nVersion: 5.9\n",
    )
    situation.write("proc/1234/comm", "nv-fabricmanage\n")

    found = situation.names("fabric-not-ready-802", level="static").findings[0]

    assert "570.86.15" in found.message
    assert f"install nvidia-fabricmanager {DRIVER}" in found.remedy


@covers("fabric-not-ready-802")
def test_a_fabric_manager_that_does_not_run(situation: Situation) -> None:
    """A whole machine, seen by its first process."""
    situation.driver(cuinit=802)
    situation.write("proc/1/comm", "systemd\n")
    found = situation.names("fabric-not-ready-802", level="static").findings[0]
    assert "enable --now nvidia-fabricmanager" in found.remedy


@covers("confidential-gpu-not-ready")
@pytest.mark.parametrize(
    "answers",
    [
        {"conf-compute -grs": "not-ready"},
        {
            "conf-compute -f": "CC status: ON",
            "conf-compute -grs": "Confidential Compute GPUs Ready state: not-ready",
        },
    ],
)
def test_a_confidential_gpu_before_attestation(
    situation: Situation, answers: dict[str, str]
) -> None:
    """802 without a switch, and nvidia-smi says what it waits for."""
    situation.driver(cuinit=802)
    nvidia_smi(situation, answers)
    report = situation.names("confidential-gpu-not-ready", level="static")
    assert "conf-compute -srs 1" in report.findings[0].remedy


@covers("fabric-not-ready-802")
@pytest.mark.parametrize(
    "answers",
    [
        {"conf-compute -f": "CC status: OFF", "conf-compute -grs": "Ready state: not-ready"},
        {"conf-compute -f": "CC status: ON", "conf-compute -grs": "Ready state: ready"},
        {"conf-compute": "No confidential computing here"},
    ],
)
def test_802_is_the_fabrics_where_nothing_waits_for_attestation(
    situation: Situation, answers: dict[str, str]
) -> None:
    """Off, or ready."""
    situation.driver(cuinit=802)
    nvidia_smi(situation, answers)
    situation.names("fabric-not-ready-802", level="static")


@covers("mps-daemon-unreachable")
@pytest.mark.parametrize("code", [805, 807])
def test_an_mps_daemon_that_is_gone(situation: Situation, code: int) -> None:
    """A folder without a daemon, and CUDA that asks for one."""
    folder = situation.base / "mps"
    folder.mkdir()
    situation.driver(cuinit=code)
    situation.env["CUDA_MPS_PIPE_DIRECTORY"] = str(folder)

    report = situation.names("mps-daemon-unreachable", level="static")

    assert report.findings[0].severity == "error"
    assert "unset CUDA_MPS_PIPE_DIRECTORY" in report.findings[0].remedy


@covers("mps-daemon-unreachable")
def test_a_variable_for_mps_without_a_daemon_is_worth_a_word(situation: Situation) -> None:
    """Programs run, and do not share as was meant."""
    situation.env["CUDA_MPS_PIPE_DIRECTORY"] = str(situation.base / "gone")
    report = situation.names("mps-daemon-unreachable", level="static")
    assert report.passed


def test_an_mps_daemon_that_listens_is_healthy(
    situation: Situation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its control socket is there; it holds the GPU in exclusive mode, as it should."""
    folder = situation.base / "mps"
    folder.mkdir()
    monkeypatch.chdir(folder)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as control:
        control.bind("control")
        situation.env["CUDA_MPS_PIPE_DIRECTORY"] = str(folder)
        server = {"mode": 3, "processes": "77:31457280:nvidia-cuda-mps-server"}
        situation.driver(states=[server])
        situation.is_healthy(level="static")


@covers("nvml-says-yes-cuda-says-no")
@pytest.mark.parametrize("code", [46, 101])
def test_nvml_lists_gpus_and_cuda_does_not_start(situation: Situation, code: int) -> None:
    """With a code that names no cause of its own."""
    situation.driver(cuinit=code)
    report = situation.names("nvml-says-yes-cuda-says-no")
    assert str(code) in report.findings[0].seen


@covers("driver-does-not-answer")
def test_a_hung_driver(situation: Situation) -> None:
    """A call on one GPU that never returns; the others' facts are kept."""
    situation.driver(crash=True)
    situation.names("driver-does-not-answer", level="static")


# --- variables and numbers ------------------------------------------------------------------


@covers("cvd-empty-or-invalid")
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "hides every GPU"),
        ("-1", "hides every GPU"),
        ("NoDevFiles", "hides every GPU"),
        ("7,0", "GPU 7, which does not exist"),
        ("0,0", "twice"),
        ("GPU-ffffffff-0000-0000-0000-000000000000", "does not exist"),
        ("MIG-ffffffff-0000-0000-0000-000000000000", "MIG is off"),
    ],
)
def test_gpus_hidden_by_mistake(situation: Situation, value: str, says: str) -> None:
    """No GPU is left."""
    situation.driver(gpus=[H200, H200], visible=value)
    report = situation.names("cvd-empty-or-invalid", level="static")
    assert says in report.findings[0].message
    assert report.findings[0].severity == "error"


@covers("cvd-empty-or-invalid")
@pytest.mark.parametrize("value", ["0,9,1", "0;1"])
def test_some_gpus_hidden_by_mistake(situation: Situation, value: str) -> None:
    """The list ends earlier than it was meant to."""
    situation.driver(gpus=[H200, H200], visible=value)
    report = situation.names("cvd-empty-or-invalid", level="static")
    assert report.passed


@pytest.mark.parametrize("value", ["1,0", "GPU-C0DE0000-57ab-4d21-9e0c-000000005eed,GPU-c0de0001"])
def test_gpus_that_are_chosen_are_healthy(situation: Situation, value: str) -> None:
    """By number, by UUID, and by its beginning."""
    situation.driver(gpus=[H200, H200], visible=value)
    situation.is_healthy(level="static")


@covers("cvd-empty-or-invalid")
@pytest.mark.parametrize("value", ["void", "none"])
def test_a_container_that_was_to_have_no_gpu(situation: Situation, value: str) -> None:
    """The runtime's variable; the kernel module of the machine shows all the same."""
    situation.write(".dockerenv")
    situation.remove("dev/nvidia0", "dev/nvidiactl", "dev/nvidia-uvm", "dev/nvidia-uvm-tools")
    situation.driver(gpus=[])
    situation.env["NVIDIA_VISIBLE_DEVICES"] = value
    situation.names("cvd-empty-or-invalid", level="static")


@pytest.mark.parametrize("value", ["void", "0"])
def test_the_runtimes_variable_where_gpus_are_there(situation: Situation, value: str) -> None:
    """A device plug-in that brings GPUs its own way sets `void`."""
    situation.env["NVIDIA_VISIBLE_DEVICES"] = value
    situation.is_healthy(level="static")


@covers("device-order-mismatch")
@pytest.mark.parametrize(
    ("gpus", "visible"),
    [([SLOW_GPU, H200], None), ([SLOW_GPU, H200], "0"), ([H200, SLOW_GPU], None)],
)
def test_cuda_puts_the_fastest_first(
    situation: Situation, gpus: list[tuple[str, str, int]], visible: str | None
) -> None:
    """And nvidia-smi the lowest slot; that both are the same today says nothing of tomorrow."""
    situation.driver(gpus=gpus, visible=visible)
    report = situation.names("device-order-mismatch", level="static")
    assert report.findings[0].remedy == "export CUDA_DEVICE_ORDER=PCI_BUS_ID"


@pytest.mark.parametrize(
    ("gpus", "env"),
    [
        ([SLOW_GPU, H200], {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}),
        ([H200, H200], {}),
        ([SLOW_GPU, H200], {"CUDA_VISIBLE_DEVICES": "GPU-c0de0000"}),
    ],
)
def test_one_order_is_healthy(
    situation: Situation, gpus: list[tuple[str, str, int]], env: dict[str, str]
) -> None:
    """Set so, by name, or because all are alike."""
    situation.driver(gpus=gpus)
    situation.env |= env
    situation.is_healthy(level="static")


@covers("mig-without-slices")
def test_mig_mode_without_slices(situation: Situation) -> None:
    """After a reboot."""
    situation.driver(states=[{"slices": "-"}])
    situation.names("mig-without-slices", level="static")


@pytest.mark.parametrize("visible", [None, "MIG-1b2c3d4e-0000-5111-8222-333344445555"])
def test_a_slice_is_healthy(situation: Situation, visible: str | None) -> None:
    """It is what CUDA lists, and its memory is what counts."""
    situation.driver(states=[{"slices": SLICE, "free": 0}], visible=visible)
    report = situation.is_healthy()
    assert report.proven["GPU 0"].startswith("NVIDIA H200 MIG 1g.18gb (9.0), 18 GiB")


# --- the state of each GPU ------------------------------------------------------------------


@covers("ecc-uncorrectable-row-remap")
@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"uncorrected": 3}, "could not correct"),
        ({"remap": "1 0"}, "waits for a reset"),
        ({"remap": "1 1"}, "replaced"),
        ({"context": 214}, "memory error"),
    ],
)
def test_faulty_memory(situation: Situation, state: dict[str, object], says: str) -> None:
    """What is left to do follows from how far the driver came."""
    situation.driver(gpus=[H200, H200], states=[{}, {"ecc": 1, **state}])
    finding = situation.names("ecc-uncorrectable-row-remap").findings[0]
    assert says in f"{finding.message} {finding.remedy}"
    assert "GPU 1" in finding.message


@covers("exclusive-process-mode")
@pytest.mark.parametrize("level", ["static", "import"])
def test_a_gpu_held_by_another(situation: Situation, level: str) -> None:
    """Exclusive mode and a process; seen by NVML, and by a context that is refused."""
    situation.driver(states=[{"mode": 3, "processes": "4242:1073741824:python3"}])
    finding = situation.names("exclusive-process-mode", level=level).findings[0]
    assert "process 4242 (python3) holds it" in finding.message


@covers("exclusive-process-mode")
def test_a_gpu_that_takes_nobody(situation: Situation) -> None:
    """Mode prohibited."""
    situation.driver(states=[{"mode": 2}])
    situation.names("exclusive-process-mode")


@covers("vgpu-unlicensed")
def test_a_virtual_gpu_without_licence_by_nvml(situation: Situation) -> None:
    """The guest's driver knows."""
    situation.driver(gpus=[VGPU], states=[{"virtual": 2, "license": 0}])
    situation.names("vgpu-unlicensed", level="static")


@covers("vgpu-unlicensed")
@pytest.mark.parametrize(
    "text",
    [
        "License Status : Unlicensed",
        "GPU 00000000:17:00.0\n    vGPU Software\n        License Status   : Unlicensed (x)",
    ],
)
def test_a_virtual_gpu_without_licence_by_nvidia_smi(situation: Situation, text: str) -> None:
    """Where NVML does not tell, and the name alone says that it is virtual."""
    situation.driver(gpus=[VGPU], missing=["nvmlDeviceGetVirtualizationMode"])
    nvidia_smi(situation, {"-q": text})
    situation.names("vgpu-unlicensed", level="static")


@covers("vgpu-unlicensed")
def test_a_virtual_gpu_that_refuses_work(situation: Situation) -> None:
    """Nobody tells the licence, and contexts fail with 46."""
    situation.driver(gpus=[VGPU], states=[{"virtual": 2, "context": 46}])
    situation.names("vgpu-unlicensed")


@covers("memory-already-used")
@pytest.mark.parametrize(
    ("state", "says"),
    [
        (FULL, "another container"),
        ({**FULL, "processes": "7:150000000000:,9:5000000:python3"}, "process 7 139.7 GiB"),
    ],
)
def test_memory_held_by_others(situation: Situation, state: dict[str, object], says: str) -> None:
    """By processes that are named, or by what cannot be seen from here."""
    situation.driver(states=[state])
    finding = situation.names("memory-already-used", level="static").findings[0]
    assert "12 MiB of 140.4 GiB free" in finding.message
    assert says in finding.message
    assert finding.severity == "error"


@covers("memory-already-used")
def test_another_gpu_is_free(situation: Situation) -> None:
    """Then it is a warning, and the remedy takes that one."""
    situation.driver(gpus=[H200, H200], states=[FULL, {}])
    report = situation.names("memory-already-used", level="static")
    assert report.passed
    assert report.findings[0].remedy.startswith("export CUDA_VISIBLE_DEVICES=GPU-c0de0001-")


@covers("gpu-error")
@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"lost": 15}, "GPU is lost"),
        ({"context": 719}, "CUDA error 719"),
    ],
)
def test_a_gpu_that_does_not_work(
    situation: Situation, state: dict[str, object], says: str
) -> None:
    """The number is that of nvidia-smi."""
    situation.driver(gpus=[H200, H200], states=[{}, state])
    finding = situation.names("gpu-error").findings[0]
    assert "GPU 1" in finding.message
    assert says in finding.message


@covers("gpu-throttled")
def test_a_gpu_that_is_too_hot(situation: Situation) -> None:
    """Hardware slowdown by heat, beside the power cap, which is normal."""
    situation.driver(states=[{"throttle": 0x40 | 0x08 | 0x04}])
    report = situation.names("gpu-throttled", level="static")
    assert "too hot" in report.findings[0].message
    assert report.passed


@covers("nvlink-down")
def test_a_link_that_is_down(situation: Situation) -> None:
    """Fewer than its neighbours have."""
    links = [{"links": "18 18"}, {"links": "16 18"}]
    situation.driver(gpus=[H100_SXM, H100_SXM], states=links)
    report = situation.names("nvlink-down", level="static")
    assert "GPU 1 (NVIDIA H100 80GB HBM3) has 16 NVLinks up" in report.findings[0].message


# --- witnesses ------------------------------------------------------------------------------


@covers("witnesses-disagree")
@pytest.mark.parametrize(
    ("rows", "status", "says"),
    [
        ([row("535.104.05")], 0, "535.104.05 by nvidia-smi"),
        ([row(number=1)], 0, "not the same ones"),
        (["No devices were found"], 6, "No devices were found"),
    ],
)
def test_nvidia_smi_says_something_else(
    situation: Situation, rows: list[str], status: int, says: str
) -> None:
    """Another driver, other GPUs, or none."""
    nvidia_smi(situation, {"--query-gpu": "\n".join(rows)}, status)
    report = situation.names("witnesses-disagree")
    assert says in report.findings[0].message
    assert report.passed


@covers("witnesses-disagree")
def test_cuda_lists_fewer_than_nvml(situation: Situation) -> None:
    """And nothing hides any."""
    situation.driver(gpus=[H200, H200])
    situation.env["STUB_HIDDEN"] = "1"
    situation.names("witnesses-disagree", level="static")


# --- machines that only look broken ---------------------------------------------------------

OLD_DRIVER = (
    "cuDeviceGetUuid",
    "cuDeviceGetUuid_v2",
    "cuDeviceGetPCIBusId",
    "cuDevicePrimaryCtxRetain",
    "cuCtxCreate_v2",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetPciInfo_v3",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetComputeMode",
    "nvmlDeviceGetVirtualizationMode",
    "nvmlDeviceGetEccMode",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetRemappedRows",
    "nvmlDeviceGetRetiredPagesPendingStatus",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetNvLinkState",
    "nvmlDeviceGetGpuFabricInfo",
    "nvmlDeviceGetMigMode",
    "nvmlSystemGetProcessName",
    "nvmlErrorString",
    "nvmlShutdown",
)

HEALTHY: dict[str, dict[str, Any]] = {
    "bare": {"missing": OLD_DRIVER},
    "nothing is supported": {
        "errors": {name: 3 for name in OLD_DRIVER if name.startswith("nvmlDevice")}
    },
    "nothing is found": {
        "errors": {name: 13 for name in OLD_DRIVER if name.startswith("nvmlDevice")}
    },
    "no ECC, a desktop": {
        "gpus": [("NVIDIA GeForce RTX 4090", "8.9", 24 * GIB)],
        "states": [
            {"ecc": 0, "free": 23 * GIB, "processes": "900:600000000:Xorg,950:0:gnome-shell"}
        ],
    },
    "ECC without errors": {"states": [{"ecc": 1, "uncorrected": 0, "remap": "0 0"}]},
    "idle, power cap, application clocks": {"states": [{"throttle": 0x1 | 0x2 | 0x4}]},
    "exclusive, and free": {"states": [{"mode": 3}]},
    "a licensed vGPU": {"gpus": [VGPU], "states": [{"virtual": 2, "license": 1}]},
    "a vGPU that tells no licence": {"gpus": [VGPU], "states": [{"virtual": 2}]},
    "passed through": {"states": [{"virtual": 1, "license": 0}]},
    "bridges on some": {
        "gpus": [H200, H200, H200],
        "states": [{"links": "4 4"}, {"links": "4 4"}, {"links": "0 4"}],
    },
    "a fabric in a virtual machine": {"states": [{"fabric": "2 0"}]},
    "eight": {"gpus": [H100_SXM] * 8, "states": [{"links": "18 18", "fabric": "3 0"}] * 8},
    "a small job beside ours": {
        "states": [{"free": 100 * GIB, "processes": "7:40000000000:python"}]
    },
    "without NVML": {"libraries": ["libcuda.so.1"]},
}


@pytest.mark.parametrize("changes", HEALTHY.values(), ids=HEALTHY)
def test_machines_that_only_look_broken(situation: Situation, changes: dict[str, Any]) -> None:
    """No finding, with a thorough look."""
    situation.driver(**changes)
    situation.is_healthy(level="import")


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ({"--query-gpu": row()}, 0),
        ({}, 0),
        ({"--query-gpu": 'Field "pci.bus_id" is not a valid field to query.'}, 2),
        ({"--query-gpu": "some, words, that are, no, answer, 0"}, 0),
        ({}, 1),
    ],
)
def test_an_nvidia_smi_that_agrees_or_says_nothing(
    situation: Situation, answers: dict[str, str], status: int
) -> None:
    """A program that is not understood is no witness."""
    nvidia_smi(situation, answers, status)
    situation.is_healthy(level="import")


def test_windows_own_driver_seen_from_wsl(situation: Situation) -> None:
    """No kernel module, no files of a driver, and NVML names the version Windows has."""
    situation.remove("proc/driver", "dev/nvidia0", "dev/nvidiactl", "dev/nvidia-uvm", "lib/modules")
    for library in (situation.root / "usr/lib/x86_64-linux-gnu").glob("lib*nvidia*"):
        library.unlink()
    for library in (situation.root / "usr/lib/x86_64-linux-gnu").glob("libcuda*"):
        library.unlink()
    situation.write("proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2\n")
    situation.write("proc/version", "Linux version 5.15.153.1-microsoft-standard-WSL2\n")
    situation.write("proc/modules", "")
    situation.write("dev/dxg")
    situation.remove("sys/bus/pci/devices/0000:17:00.0")
    situation.write("usr/lib/wsl/lib/libcuda.so.1", "stand-in\n")
    gpu = ("NVIDIA GeForce RTX 4070", "8.9", 12 * GIB)
    situation.driver(
        driver="572.16", gpus=[gpu], states=[{"free": 10 * GIB}], missing=OLD_DRIVER[-8:]
    )
    situation.is_healthy(level="import")


def test_a_gpu_that_is_newer_than_all_of_it(situation: Situation) -> None:
    """Nothing here complains of a GPU for being new; that is for others to say."""
    kernel_module(situation, "580.65.06")
    situation.driver(driver="580.65.06", cuda="13.0", gpus=[RTX_5090])
    report = situation.verify(level="static", only=["gpu-error", "witnesses-disagree"])
    assert not report.findings
