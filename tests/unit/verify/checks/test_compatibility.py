"""Driver and GPUs against the build."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.facts import H100, LOCKED, TARGET, V100, device, host, prefix, probe, subject, torch_run

from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.finding import Finding, Outcome
from envforge.model.lock import Target
from envforge.model.machine import Driver, Gpu, Machine
from envforge.verify.facts import DeviceCode, HostFacts, Subject
from envforge.verify.verify import judge

RTX_5090 = Gpu(name="NVIDIA GeForce RTX 5090", capability=ComputeCapability(12, 0))
FUTURE = Gpu(name="NVIDIA X100", capability=ComputeCapability(14, 0))
RULES = ("driver-too-old", "driver-minor-too-old-for-ptx", "arch-too-new", "arch-too-old")
LIB = "lib/python3.10/site-packages/torch/lib/libtorch_cuda.so"


def target(torch: str, cuda: str, *architectures: str, **more: Any) -> Target:
    claim = replace(TARGET, torch=torch, cuda=CudaVersion.parse(cuda), cudnn=None)
    return replace(claim, architectures=architectures, **more)


def locked_for(claim: Target | None, machine: HostFacts, **more: Any) -> Subject:
    """A lock alone on a machine."""
    facts = {"prefix": None, "probe": None, "level": "static", "kind": "lock", **more}
    return subject(target=claim, host=machine, locked=LOCKED, **facts)


def code(*flags: str, ptx: tuple[int, int] | None = None, path: str = LIB) -> DeviceCode:
    return DeviceCode(path=path, architectures=flags, ptx=ptx)


def outcome(check: str, facts: Subject) -> Outcome:
    [found] = judge(facts, only=[check])
    assert found.verdict != "crashed", found
    return found


def found(facts: Subject) -> dict[str, Finding]:
    outcomes = judge(facts, only=RULES)
    assert "crashed" not in {item.verdict for item in outcomes}
    return {finding.check: finding for item in outcomes for finding in item.findings}


# --- the driver -----------------------------------------------------------------------------


def test_a_too_old_driver_names_all_ways_out() -> None:
    """The oldest that would do, the newest CUDA it runs as a command, and the package."""
    claim = target("2.11.0", "13.0", "7.5", "8.0", "9.0", "12.0+PTX", python="3.12.3")
    finding = found(locked_for(claim, host("535.104.05", "12.2", H100)))["driver-too-old"]

    assert finding.message == "driver 535.104.05 is too old for CUDA 13.0"
    assert "up to 12.9" in finding.seen
    assert finding.expected.startswith("driver 580 or newer")
    assert finding.remedy.split(", or ") == [
        "envforge create nlp-bert --torch 2.11.0 --cuda 12.9 --python 3.12",
        "update the driver to 580 or newer",
        (
            "install `cuda-compat-13-0` (apt, dnf, zypper) and"
            " `export LD_LIBRARY_PATH=/usr/local/cuda-13.0/compat:$LD_LIBRARY_PATH`"
        ),
    ]


@pytest.mark.parametrize(
    ("driver", "gpu"),
    [("535.104.05", RTX_5090), ("550.54.14", H100), ("470.82.01", V100)],
)
def test_the_package_is_named_only_where_it_is_promised(driver: str, gpu: Gpu) -> None:
    claim = target("2.11.0", "13.0", "7.0", "9.0", "12.0+PTX")
    finding = found(locked_for(claim, host(driver, "12.2", gpu)))["driver-too-old"]
    assert "cuda-compat" not in finding.remedy


def test_where_no_build_runs_the_driver_must_be_updated() -> None:
    ancient = HostFacts(machine=Machine(driver=Driver(version="340.29")))
    finding = found(locked_for(target("2.0.1", "11.8"), ancient))["driver-too-old"]
    assert finding.remedy == "update the driver to 450.80.02 or newer"
    assert "none that we know" in finding.seen


@pytest.mark.parametrize(
    ("driver", "newest", "cuda"),
    [
        ("535.104.05", "12.2", "12.6"),  # minor-version compatibility
        ("580.65.06", "13.0", "12.6"),  # a driver runs what is older
        ("700.10", "14.0", "13.9"),
        ("700.10", "14.0", "14.0"),
        ("570.124.06", "13.0", "13.0"),  # cuda-compat before an older kernel driver
        ("540.4.0", "12.6", "12.6"),  # Jetson counts its drivers apart
    ],
)
def test_drivers_that_do(driver: str, newest: str, cuda: str) -> None:
    claim = target("2.11.0", cuda, "9.0")
    assert found(locked_for(claim, host(driver, newest, H100))) == {}


@pytest.mark.parametrize("version", ["700.10", "615.31"])
def test_a_described_driver_beyond_the_tables(version: str) -> None:
    machine = Machine(driver=Driver(version=version), gpus=(H100,), origin="described")
    claim = target("2.20.0", "14.1", "9.0", "12.0+PTX")
    assert found(locked_for(claim, HostFacts(machine=machine))) == {}


def test_a_driver_whose_version_cannot_be_read_is_nobodys_to_judge() -> None:
    odd = HostFacts(machine=Machine(driver=Driver(version="535.104.05-tegra"), gpus=(H100,)))
    result = outcome("driver-too-old", locked_for(target("2.0.1", "11.8", "9.0"), odd))
    assert result.verdict == "unproven"
    assert "535.104.05-tegra" in result.detail


def test_a_cuda_that_cannot_be_read_is_nobodys_to_judge() -> None:
    torch = prefix().torch
    assert torch is not None
    bare = subject(target=None, prefix=prefix(torch=replace(torch, cuda="twelve")), probe=None)
    assert outcome("driver-too-old", bare).verdict == "unproven"


def test_compat_on_a_gpu_that_does_not_take_it_does_not_count() -> None:
    """libcuda of 13.0 answers 804: what the kernel driver runs is what counts."""
    geforce = Gpu(name="NVIDIA GeForce RTX 4090", capability=ComputeCapability(8, 9))
    machine = host("535.104.05", "13.0", geforce)
    refused = replace(machine, cuda=replace(machine.cuda, init=804, gpus=()))
    claim = target("2.11.0", "13.0", "8.6", "9.0")

    assert "driver-too-old" in found(locked_for(claim, refused))
    assert found(locked_for(claim, machine)) == {}
    data_center = host("535.104.05", "13.0", H100)
    waiting = replace(data_center, cuda=replace(data_center.cuda, init=804, gpus=()))
    assert found(locked_for(claim, waiting)) == {}  # another check says what is wrong there


# --- PTX ------------------------------------------------------------------------------------


def test_ptx_of_a_newer_toolkit_is_certain_where_the_file_tells_its_version() -> None:
    """PTX 8.7 is that of CUDA 12.8, and the driver has 12.2."""
    facts = locked_for(
        target("2.8.0", "12.8", "8.0"),
        host("535.104.05", "12.2", H100),
        prefix=prefix(code=(code("sm_80", "compute_80", ptx=(8, 7)),)),
    )
    finding = found(facts)["driver-minor-too-old-for-ptx"]
    assert finding.severity == "error"
    assert "NVIDIA H100 (9.0) needs this build's PTX" in finding.message
    assert "570.26 or newer, for PTX of CUDA 12.8" in finding.expected
    assert "cuda-compat-12-8" in finding.remedy


def test_ptx_of_a_file_that_does_not_tell_is_a_warning() -> None:
    """It may be older than the toolkit that linked it."""
    facts = locked_for(
        target("2.8.0", "12.8", "8.0"),
        host("535.104.05", "12.2", H100),
        prefix=prefix(code=(code("compute_80"),)),
    )
    assert found(facts)["driver-minor-too-old-for-ptx"].severity == "warning"


def test_ptx_that_is_older_than_the_driver_is_compiled() -> None:
    """The build is of CUDA 12.8, its PTX of 12.1."""
    facts = locked_for(
        target("2.8.0", "12.8", "8.0"),
        host("535.104.05", "12.2", H100),
        prefix=prefix(code=(code("compute_80", ptx=(8, 1)),)),
    )
    assert found(facts) == {}


def test_the_ptx_of_an_extension_is_judged_by_itself() -> None:
    """torch has machine code; the extension has PTX of a newer toolkit."""
    path = "lib/python3.10/site-packages/op/_C.so"
    facts = locked_for(
        target("2.7.1", "12.6", "9.0"),
        host("535.104.05", "12.2", H100),
        prefix=prefix(
            code=(code("sm_90"), code("sm_80", "compute_80", ptx=(8, 7), path=path)),
        ),
    )
    finding = found(facts)["driver-minor-too-old-for-ptx"]
    assert "the PTX of _C.so" in finding.message
    assert "12.8" in finding.expected


def test_an_extension_whose_sibling_has_machine_code_is_not_told() -> None:
    """Packages bring one library for each CUDA, or for each generation, and choose."""
    site = "lib/python3.10/site-packages"
    one = code("sm_80", "compute_80", ptx=(8, 7), path=f"{site}/bnb/lib_cuda128.so")
    other = code("sm_90", path=f"{site}/bnb/lib_cuda126.so")
    facts = locked_for(
        target("2.7.1", "12.6", "9.0"),
        host("535.104.05", "12.2", H100),
        prefix=prefix(code=(code("sm_90"), one, other)),
    )
    assert found(facts) == {}


def test_ptx_where_there_is_nothing_to_judge() -> None:
    """A native driver compiles any PTX of the build; else GPU and code must be known."""
    claim = target("2.7.1", "12.6")
    check = "driver-minor-too-old-for-ptx"
    assert outcome(check, locked_for(claim, host("560.35.05", "12.6", H100))).verdict == "passed"
    assert outcome(check, locked_for(claim, host("535.1", "12.2", H100))).verdict == "unproven"
    bare = HostFacts(machine=Machine(driver=Driver(version="535.104.05")))
    no_gpu = locked_for(target("2.7.1", "12.6", "8.0+PTX"), bare)
    assert outcome(check, no_gpu).verdict == "unproven"


def test_triton_and_nvrtc_that_are_newer_than_the_driver_are_no_trouble() -> None:
    """They write machine code: 12.6 on a driver of 12.2 is a machine like thousands."""
    claim = target("2.7.1", "12.6", "8.0", "9.0")
    assert found(locked_for(claim, host("535.104.05", "12.2", H100))) == {}


# --- architectures --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu", "flags", "check"),
    [
        (RTX_5090, ("sm_80", "sm_90"), "arch-too-new"),
        (RTX_5090, ("sm_90", "sm_120a"), None),
        (RTX_5090, ("sm_90", "compute_90"), None),
        (FUTURE, ("sm_90", "sm_120", "compute_120"), None),
        (FUTURE, ("sm_90", "sm_120"), "arch-too-new"),
        (V100, ("sm_75", "sm_80", "compute_80"), "arch-too-old"),
        (V100, ("sm_70",), None),
        (H100, ("sm_80", "sm_86"), "arch-too-new"),
        (Gpu(name="L4", capability=ComputeCapability(8, 9)), ("sm_80", "sm_86"), None),
        (Gpu(name="GB10", capability=ComputeCapability(12, 1)), ("sm_120",), None),
        (Gpu(name="Orin", capability=ComputeCapability(8, 7)), ("sm_87",), None),
        (Gpu(name="Thor", capability=ComputeCapability(11, 0)), ("sm_101",), None),
    ],
)
def test_gpu_code_of_the_file_decides(gpu: Gpu, flags: tuple[str, ...], check: str | None) -> None:
    facts = locked_for(
        target("2.8.0", "12.8", "3.7"),
        host("700.10", "14.0", gpu),
        prefix=prefix(code=(code(*flags),)),
    )
    told = found(facts)
    assert list(told) == ([check] if check else [])
    if check:
        assert "by libtorch_cuda.so" in told[check].seen


def test_ptx_on_a_gpu_that_is_newer_than_the_cuda_is_not_proven() -> None:
    """torch starts on it, and its cuBLAS of CUDA 12.1 is from before the GPU: only live shows."""
    claim = target("2.1.0", "12.1", "8.0", "9.0+PTX")
    facts = locked_for(claim, host("580.65.06", "13.0", RTX_5090))
    assert found(facts) == {}
    result = outcome("arch-too-new", facts)
    assert result.verdict == "unproven"
    assert "--level live" in result.detail
    ran = device("cuda:0", capability=RTX_5090.capability)
    live = replace(facts, level="live", probe=probe(torch=None, devices=(ran,)))
    assert outcome("arch-too-new", live).verdict == "passed"


def test_what_ran_is_better_evidence_than_any_list() -> None:
    """A kernel's result was read back on this GPU."""
    run = probe(
        torch=torch_run(architectures=("sm_80",)), devices=(device("cpu"), device("cuda:0"))
    )
    assert found(subject(host=host("580.65.06", "13.0", H100), probe=run)) == {}


def test_where_nobody_recorded_the_architectures_the_toolkit_still_excludes() -> None:
    """CUDA 13 cannot make code for Volta; of newer GPUs nothing can be said."""
    old = locked_for(target("2.15.0", "13.2"), host("595.58.03", "13.2", V100))
    assert "CUDA 13.2 has no code for Tesla V100 (7.0)" in found(old)["arch-too-old"].message
    new = locked_for(target("2.6.0", "11.8"), host("700.10", "14.0", RTX_5090))
    assert found(new) == {}
    assert outcome("arch-too-new", new).verdict == "unproven"
    assert outcome("arch-too-old", new).verdict == "unproven"


def test_each_model_is_told_once_and_every_model_counts() -> None:
    facts = locked_for(
        target("2.11.0", "13.0", "7.5", "9.0"), host("580.65.06", "13.0", V100, V100, H100)
    )
    assert [item.message for item in outcome("arch-too-old", facts).findings] == [
        "this build has no kernels for Tesla V100 (7.0), which this build leaves out"
    ]


def test_an_environment_that_was_not_made_by_envforge_gets_a_command_for_its_torch() -> None:
    """No lock: the release that is installed is looked for."""
    torch = prefix().torch
    assert torch is not None
    torch = replace(torch, version="2.11.0+cu130", cuda="13.0")
    facts = subject(
        target=None,
        locked=None,
        host=host("535.104.05", "12.2", H100),
        probe=None,
        prefix=prefix(torch=torch),
    )
    assert "--torch 2.11.0 --cuda 12.9" in found(facts)["driver-too-old"].remedy
