"""Checks of the driver and its witnesses, on facts built by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.facts import H100, host, no_driver, subject, torch_run

from envforge.model.finding import Outcome
from envforge.model.machine import Driver, Machine
from envforge.verify.facts import (
    FabricFiles,
    GpuState,
    HostFacts,
    LibraryAnswer,
    MpsPipe,
    SmiWitness,
    Subject,
)
from envforge.verify.verify import judge

CUDA = "/usr/lib/x86_64-linux-gnu/libcuda.so"
NVML = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so"


def outcome(check: str, facts: HostFacts, **changes: Any) -> Outcome:
    """What one check comes to on this machine."""
    [found] = judge(subject(host=facts, probe=None, level="static", **changes), only=[check])
    return found


def words(found: Outcome) -> str:
    return "\n".join(f"{f.message}\n{f.seen}\n{f.remedy}" for f in found.findings)


def machine(**changes: Any) -> HostFacts:
    return replace(host(), **changes)


def cuda(code: int | None = 0, **more: Any) -> LibraryAnswer:
    gpus = (H100,) if code == 0 else ()
    return LibraryAnswer(**{"library": f"{CUDA}.1", "init": code, "gpus": gpus, **more})


def nvml(code: int = 0, **more: Any) -> LibraryAnswer:
    gpus = (H100,) if code == 0 else ()
    fields = {"library": f"{NVML}.1", "init": code, "driver": "535.104.05", "gpus": gpus}
    return LibraryAnswer(**{**fields, **more})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"nvml": nvml(18, driver=None)}, "kernel module 535.104.05"),
        ({"nvml": nvml(driver="550.54.14")}, "NVML says driver 550.54.14"),
        ({"nvml": nvml(library=f"{NVML}.550.54.14")}, "libnvidia-ml.so 550.54.14"),
        (
            {"nvml": LibraryAnswer(), "cuda": cuda(803, library=f"{CUDA}.550.54.14")},
            "libcuda.so 550.54.14",
        ),
        (
            {"nvml": LibraryAnswer(), "cuda": LibraryAnswer(on_disk="550.54.14")},
            "libcuda.so 550.54.14",
        ),
        ({"nvml": LibraryAnswer(on_disk="525.60.13")}, "older than its kernel module"),
    ],
)
def test_libraries_of_another_version(changes: dict[str, Any], says: str) -> None:
    """By NVML's code, its word, or the names of files."""
    found = outcome("driver-library-mismatch-nvml", machine(**changes))
    assert says in words(found)


def test_a_libcuda_that_works_all_the_same_is_worth_a_word() -> None:
    """As forward compatibility does, from where nobody puts it."""
    facts = machine(cuda=cuda(library="/opt/x/libcuda.so.560.35.05"))
    [finding] = outcome("driver-library-mismatch-nvml", facts).findings
    assert finding.severity == "warning"
    assert "/opt/x/libcuda.so.560.35.05" in finding.message


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kernel_driver": None, "nvml": nvml(driver="572.16")},
        {"cuda": cuda(library="/usr/local/cuda-12.6/compat/libcuda.so.560.35.05")},
        {"cuda": cuda(803, library="/opt/x/libcuda.so.510.47.03")},
        {"nvml": nvml(on_disk="550.54.14")},
        {"nvml": LibraryAnswer(), "cuda": cuda(803, library="/usr/lib/compat/libcuda.so.550.1")},
    ],
)
def test_libraries_that_fit_or_are_not_the_drivers(changes: dict[str, Any]) -> None:
    """WSL, forward compatibility, a foreign libcuda, files that nobody loads."""
    assert outcome("driver-library-mismatch-nvml", machine(**changes)).verdict == "passed"


@pytest.mark.parametrize(
    ("fabric", "states", "says"),
    [
        (None, (), "not running or of another version"),
        (None, ("in-progress",), "has not ended setting up"),
        (None, ("failed",), "failed to set up"),
        (FabricFiles(manager_running=False), (), "not running"),
        (FabricFiles(nvswitch=True, manager_running=False), (), "install nvidia-fabricmanager"),
        (FabricFiles(manager_version="535.1"), (), "the fabric manager is 535.1"),
        (
            FabricFiles(manager_version="535.104.05", manager_running=True),
            ("completed",),
            "restart",
        ),
    ],
)
def test_what_keeps_the_fabric(
    fabric: FabricFiles | None, states: tuple[str, ...], says: str
) -> None:
    """As exact as the facts allow."""
    listed = tuple(GpuState(index=n, fabric=state) for n, state in enumerate(states))
    facts = machine(cuda=cuda(802), nvml=nvml(states=listed), fabric=fabric)
    assert says in words(outcome("fabric-not-ready-802", facts))


@pytest.mark.parametrize(
    ("smi", "switch", "found"),
    [
        (SmiWitness(ready=False), False, True),
        (SmiWitness(ready=False, confidential=True), True, True),
        (SmiWitness(ready=False), True, False),
        (SmiWitness(ready=False, confidential=False), False, False),
        (SmiWitness(ready=True, confidential=True), False, False),
        (SmiWitness(), False, False),
    ],
)
def test_confidential_gpus(smi: SmiWitness, switch: bool, found: bool) -> None:
    """Named where nvidia-smi says so, and nothing speaks for the fabric."""
    facts = machine(cuda=cuda(802), smi=smi, fabric=FabricFiles(nvswitch=switch))
    assert bool(outcome("confidential-gpu-not-ready", facts).findings) is found


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("/c:/usr/lib", "export LD_LIBRARY_PATH=/usr/lib"),
        ("/c/", "unset LD_LIBRARY_PATH"),
        ("/other", "take that library's folder out"),
        ("", "take that library's folder out"),
    ],
)
def test_the_remedy_for_a_foreign_libcuda(path: str, remedy: str) -> None:
    """Exact, where LD_LIBRARY_PATH brings it."""
    facts = machine(cuda=cuda(803, library="/c/libcuda.so.1"), variables={"LD_LIBRARY_PATH": path})
    [finding] = outcome("cuda-803-driver-combination", facts).findings
    assert finding.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("code", "pipe", "says"),
    [
        (805, None, "its daemon refuses us"),
        (805, MpsPipe(folder="/m", asked=True), "unset CUDA_MPS_PIPE_DIRECTORY"),
        (805, MpsPipe(folder="/m", asked=False), "nvidia-cuda-mps-control -d"),
        (807, MpsPipe(folder="/m", asked=True, control=True, foreign=True), "another user's"),
        (0, MpsPipe(folder="/m", asked=True), "without a control socket"),
    ],
)
def test_mps(code: int, pipe: MpsPipe | None, says: str) -> None:
    """An error where CUDA does not start, else a warning."""
    found = outcome("mps-daemon-unreachable", machine(cuda=cuda(code), mps=pipe))
    assert says in words(found)
    assert found.findings[0].severity == ("error" if code else "warning")


def test_mps_that_works() -> None:
    """A daemon that listens, or nothing asked for."""
    for pipe in (None, MpsPipe(folder="/m", asked=True, control=True)):
        assert outcome("mps-daemon-unreachable", machine(mps=pipe)).verdict == "passed"


def test_a_toolkits_stand_in() -> None:
    """Code 34, with the folder to take out."""
    facts = machine(
        cuda=cuda(34, library="/usr/local/cuda/lib64/stubs/libcuda.so"),
        variables={"LD_LIBRARY_PATH": "/usr/local/cuda/lib64/stubs"},
    )
    found = outcome("cuda-init-failed", facts)
    assert "stand-in" in words(found)
    assert found.findings[0].remedy == "unset LD_LIBRARY_PATH"


def test_why_libcuda_cannot_be_loaded() -> None:
    """In the loader's words."""
    facts = machine(cuda=LibraryAnswer(absent="libcuda.so.1: file too short"))
    assert "file too short" in words(outcome("cuda-init-failed", facts))


def test_the_torch_that_says_no() -> None:
    """At a level that imported it; a build without CUDA says nothing about GPUs."""
    run = torch_run(cuda=None, available=False)
    base = subject()
    assert base.probe is not None
    wrong = replace(base, target=None, probe=replace(base.probe, torch=run))
    [found] = judge(wrong, only=["nvml-says-yes-cuda-says-no"])
    assert found.verdict == "inapplicable"


def test_a_machine_alone_is_judged_without_an_environment() -> None:
    """`--host`: nobody asked for CUDA, and the driver is looked at all the same."""
    facts = machine(cuda=cuda(802))
    alone = Subject(name="machine", kind="host", level="static", host=facts)
    found = {item.check: item for item in judge(alone) if item.findings}
    assert set(found) == {"fabric-not-ready-802"}
    assert not [i for i in judge(replace(alone, host=machine())) if i.findings]


def test_a_cpu_build_does_not_care() -> None:
    """A broken driver breaks nothing of it."""
    base = subject()
    assert base.target is not None
    cpu = replace(base, target=replace(base.target, cuda=None), host=machine(cuda=cuda(802)))
    [found] = judge(cpu, only=["fabric-not-ready-802"])
    assert found.verdict == "inapplicable"


def states(*uuids: str | None) -> tuple[GpuState, ...]:
    return tuple(GpuState(index=n, name="X", uuid=uuid) for n, uuid in enumerate(uuids))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"smi": SmiWitness(path="/s", status=0, driver="550.1")},
            "535.104.05 by NVML, 550.1 by nvidia-smi",
        ),
        (
            {
                "nvml": nvml(states=states("GPU-a", "GPU-b")),
                "cuda": cuda(states=states("GPU-a", "GPU-b")),
                "smi": SmiWitness(path="/s", status=0, gpus=states("GPU-a")),
            },
            "2 GPUs by NVML, 1 by nvidia-smi",
        ),
        ({"smi": SmiWitness(path="/s", status=9, message="failed")}, "nvidia-smi says `failed`"),
        ({"nvml": nvml(999, init_name="Unknown Error")}, "NVML says `Unknown Error`"),
        (
            {
                "nvml": nvml(states=states("GPU-a", "GPU-b")),
                "cuda": cuda(states=states("GPU-a")),
            },
            "2 GPUs by NVML, and CUDA can use 1",
        ),
    ],
)
def test_witnesses_that_disagree(changes: dict[str, Any], says: str) -> None:
    """A warning: what does not work has a finding of its own."""
    found = outcome("witnesses-disagree", machine(**changes))
    assert says in words(found)
    assert found.findings[0].severity == "warning"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"smi": SmiWitness(path="/s", status=0, driver="535.104.05", gpus=states(None))},
        {"smi": SmiWitness(path="/s", status=2, message="not a valid field")},
        {"smi": SmiWitness(path="/s", message="no answer within 1 s")},
        {"nvml": nvml(3)},
        {
            "nvml": nvml(states=states("GPU-a", "GPU-b")),
            "cuda": cuda(states=states("GPU-a")),
            "variables": {"CUDA_VISIBLE_DEVICES": "0"},
        },
        {
            "nvml": nvml(states=(replace(states("GPU-a")[0], mig=True), *states("GPU-b"))),
            "cuda": cuda(states=states("GPU-s")),
        },
    ],
)
def test_witnesses_that_agree_or_do_not_tell(changes: dict[str, Any]) -> None:
    """CUDA lists fewer by right with CUDA_VISIBLE_DEVICES and MIG."""
    assert outcome("witnesses-disagree", machine(**changes)).verdict == "passed"


def test_one_witness_is_none() -> None:
    """Nothing to compare with."""
    alone = machine(nvml=LibraryAnswer(), smi=SmiWitness())
    assert outcome("witnesses-disagree", alone).verdict == "unproven"


@pytest.mark.parametrize(
    "check",
    ["witnesses-disagree", "gpu-error", "memory-already-used", "device-order-mismatch"],
)
def test_a_described_or_missing_machine_has_no_state(check: str) -> None:
    """Nothing is claimed of it."""
    described = HostFacts(
        machine=Machine(driver=Driver(version="535.1"), gpus=(H100,), origin="described")
    )
    for facts in (described, no_driver()):
        assert outcome(check, facts).verdict == "inapplicable"
