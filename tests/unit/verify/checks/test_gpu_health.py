"""The state of each GPU, on facts built by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.facts import H100, device, host, probe, subject, torch_run

from envforge.model.finding import Finding, Outcome
from envforge.verify.checks.seen import in_use
from envforge.verify.facts import (
    Ending,
    GpuProcess,
    GpuState,
    HostFacts,
    LibraryAnswer,
    MigSlice,
    SmiWitness,
)
from envforge.verify.verify import judge

GIB = 2**30
GPU = GpuState(
    index=0,
    name="NVIDIA H100",
    uuid="GPU-aa11",
    bus_id="0000:01:00.0",
    memory_bytes=80 * GIB,
    free_bytes=79 * GIB,
    compute_mode="default",
)
OTHER = replace(GPU, index=1, uuid="GPU-bb22", bus_id="0000:02:00.0")


def machine(*nvml: GpuState, cuda: tuple[GpuState, ...] | None = None, **changes: Any) -> HostFacts:
    """A machine with these GPUs; CUDA lists the same, or what is given."""
    listed = nvml if cuda is None else cuda
    return replace(
        host(),
        cuda=LibraryAnswer(init=0, states=listed, gpus=(H100,) * len(listed)),
        nvml=LibraryAnswer(init=0, states=nvml, gpus=(H100,) * len(nvml)),
        **changes,
    )


def outcome(check: str, facts: HostFacts) -> Outcome:
    [found] = judge(subject(host=facts, probe=None, level="static"), only=[check])
    return found


def only(check: str, facts: HostFacts) -> Finding:
    [finding] = outcome(check, facts).findings
    return finding


def tried(code: int | None, ended: str = "done", name: str = "", **state: Any) -> HostFacts:
    """A context was tried."""
    given = replace(GPU, **state)
    made = replace(given, context=code, context_ended=ended, context_name=name)
    return machine(given, cuda=(made,))


# --- does it answer? ------------------------------------------------------------------------


def test_a_gpu_that_is_lost() -> None:
    """An error, unless it was left out on purpose."""
    lost = GpuState(index=1, error="GPU is lost (NVML error 15)", error_code=15)
    finding = only("gpu-error", machine(GPU, lost, cuda=(GPU,)))
    assert finding.severity == "error"
    assert "GPU 1 does not work: GPU is lost" in finding.message
    chosen = machine(GPU, lost, cuda=(GPU,), variables={"CUDA_VISIBLE_DEVICES": "0"})
    assert only("gpu-error", chosen).severity == "warning"


def test_a_gpu_that_needs_a_reset() -> None:
    """The command that does it."""
    sick = replace(GPU, error="x", error_code=16)
    assert "--gpu-reset -i 0000:01:00.0" in only("gpu-error", machine(sick, cuda=(GPU,))).remedy


@pytest.mark.parametrize("code", [3, 4, 13])
def test_what_is_not_told_or_not_allowed_is_no_error(code: int) -> None:
    """Not supported, no permission, no such function."""
    quiet = GpuState(index=0, error="NVML error", error_code=code)
    assert outcome("gpu-error", machine(quiet, cuda=(GPU,))).verdict == "passed"


def test_a_device_that_libcuda_cannot_read() -> None:
    """Named by libcuda's number."""
    sick = GpuState(index=0, error="CUDA_ERROR_UNKNOWN")
    assert "CUDA_ERROR_UNKNOWN" in only("gpu-error", machine(GPU, cuda=(sick,))).message


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (tried(719, name="CUDA_ERROR_LAUNCH_FAILED"), "CUDA_ERROR_LAUNCH_FAILED"),
        (tried(719), "CUDA error 719"),
        (tried(46), "CUDA error 46"),
        (tried(None, "timeout"), "no end to making a context (timeout)"),
        (tried(None, "signal 11"), "signal 11"),
    ],
)
def test_a_context_that_cannot_be_made(facts: HostFacts, says: str) -> None:
    """Whatever has no better name."""
    assert says in only("gpu-error", facts).message


@pytest.mark.parametrize(
    "facts",
    [
        tried(0),
        tried(None),
        tried(2),
        tried(214),
        tried(46, compute_mode="exclusive-process"),
        tried(46, name="", virtual=True),
        machine(GPU),
    ],
)
def test_contexts_that_work_or_have_a_better_name(facts: HostFacts) -> None:
    """No memory, ECC, exclusive mode and licences have checks of their own."""
    assert outcome("gpu-error", facts).verdict == "passed"


def test_without_any_gpu_nothing_is_claimed() -> None:
    """Neither by NVML nor by libcuda."""
    for check in ("gpu-error", "memory-already-used", "ecc-uncorrectable-row-remap"):
        assert outcome(check, machine()).verdict == "unproven"


# --- memory errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"ecc_uncorrected": 2}, "2 uncorrected errors"),
        ({"remap_pending": True}, "remapping pending"),
        ({"remap_pending": True, "remap_failed": True}, "remapping pending, remapping failed"),
    ],
)
def test_memory_errors(state: dict[str, Any], says: str) -> None:
    """With the counters."""
    assert says in only("ecc-uncorrectable-row-remap", machine(replace(GPU, **state))).seen


def test_a_context_refused_for_a_memory_error() -> None:
    """214."""
    assert "ECC could not correct" in only("ecc-uncorrectable-row-remap", tried(214)).message


def test_memory_that_is_sound_or_does_not_tell() -> None:
    """Zero is sound; nothing told is not looked at."""
    sound = replace(GPU, ecc_uncorrected=0, remap_pending=False, remap_failed=False)
    assert outcome("ecc-uncorrectable-row-remap", machine(sound)).verdict == "passed"
    assert outcome("ecc-uncorrectable-row-remap", machine(GPU)).verdict == "unproven"


def test_a_gpu_that_is_not_used_does_not_count() -> None:
    """It was left out, maybe for this."""
    sick = replace(OTHER, ecc_uncorrected=2, free_bytes=0)
    facts = machine(replace(GPU, ecc_uncorrected=0), sick, cuda=(GPU,))
    assert outcome("ecc-uncorrectable-row-remap", facts).verdict == "passed"
    assert outcome("memory-already-used", facts).verdict == "passed"


# --- compute mode ---------------------------------------------------------------------------

HOLDER = (GpuProcess(pid=7, memory_bytes=GIB, name="python3"),)


@pytest.mark.parametrize(
    ("facts", "closed"),
    [
        (machine(replace(GPU, compute_mode="exclusive-process", processes=HOLDER)), True),
        (machine(replace(GPU, compute_mode="prohibited")), True),
        (tried(46, compute_mode="exclusive-process"), True),
        (machine(replace(GPU, compute_mode="exclusive-process", processes=())), False),
        (tried(0, compute_mode="exclusive-process", processes=HOLDER), False),
        (machine(replace(GPU, processes=HOLDER)), False),
        (
            machine(
                replace(
                    GPU,
                    compute_mode="exclusive-process",
                    processes=(*HOLDER, GpuProcess(pid=8, name="nvidia-cuda-mps-server")),
                )
            ),
            False,
        ),
    ],
)
def test_exclusive_mode(facts: HostFacts, closed: bool) -> None:
    """Closed where somebody holds it, or nobody may; not by the mode alone, and not to MPS."""
    found = outcome("exclusive-process-mode", facts)
    assert bool(found.findings) is closed


def test_another_gpu_is_open() -> None:
    """A warning, and a command that takes it."""
    closed = replace(GPU, compute_mode="prohibited")
    finding = only("exclusive-process-mode", machine(closed, OTHER))
    assert finding.severity == "warning"
    assert finding.remedy == "export CUDA_VISIBLE_DEVICES=GPU-bb22"
    assert "-c DEFAULT" in only("exclusive-process-mode", machine(closed)).remedy


def test_modes_that_are_not_told() -> None:
    """Not looked at."""
    silent = machine(replace(GPU, compute_mode=None))
    assert outcome("exclusive-process-mode", silent).verdict == "unproven"


# --- licences -------------------------------------------------------------------------------

VIRTUAL = replace(GPU, name="GRID A100D-16C", virtual=True)


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (machine(GPU), "inapplicable"),
        (machine(replace(VIRTUAL, license="licensed")), "passed"),
        (machine(replace(VIRTUAL, license="unlicensed")), "failed"),
        (machine(VIRTUAL), "unproven"),
        (machine(VIRTUAL, smi=SmiWitness(licenses=(("0000:01:00.0", "unlicensed"),))), "failed"),
        (machine(VIRTUAL, smi=SmiWitness(licenses=(("0000:09:00.0", "unlicensed"),))), "unproven"),
        (machine(VIRTUAL, smi=SmiWitness(licenses=((None, "licensed"),))), "passed"),
        (tried(46, name="", virtual=True), "failed"),
        (tried(0, virtual=True), "unproven"),
        (machine(replace(VIRTUAL, virtual=False, license="unlicensed")), "inapplicable"),
    ],
)
def test_licences(facts: HostFacts, verdict: str) -> None:
    """By NVML, by nvidia-smi, or by a context that is refused."""
    assert outcome("vgpu-unlicensed", facts).verdict == verdict


# --- free memory ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "severity"),
    [
        (0, "error"),
        (400 * 2**20, "error"),
        (10 * GIB, "warning"),
        (16 * GIB, None),
        (40 * GIB, None),
    ],
)
def test_how_much_is_enough(free: int, severity: str | None) -> None:
    """Nothing starts in half a GiB; a fifth is worth no word."""
    found = outcome("memory-already-used", machine(replace(GPU, free_bytes=free)))
    assert [item.severity for item in found.findings] == ([severity] if severity else [])


@pytest.mark.parametrize(
    ("processes", "message", "remedy"),
    [
        (None, "another process holds the rest", "fuser -v /dev/nvidia0"),
        ((), "another container holds the rest", "fuser -v /dev/nvidia0"),
        (HOLDER, "process 7 (python3) 1.0 GiB", "kill 7"),
        (
            tuple(GpuProcess(pid=n) for n in range(1, 6)),
            "process 1, process 2, process 3 and 2 more",
            "fuser",
        ),
    ],
)
def test_who_holds_it(processes: tuple[GpuProcess, ...] | None, message: str, remedy: str) -> None:
    """As far as it can be seen from here."""
    full = replace(GPU, free_bytes=0, processes=processes)
    finding = only("memory-already-used", machine(full))
    assert message in finding.message
    assert remedy in finding.remedy


def test_no_memory_for_a_context() -> None:
    """2, however much NVML says is free."""
    assert only("memory-already-used", tried(2)).severity == "error"


def test_a_slice_counts_for_itself() -> None:
    """What its neighbours use of the GPU does not matter."""
    part = MigSlice(uuid="MIG-cc33", memory_bytes=10 * GIB, free_bytes=9 * GIB)
    cut = replace(GPU, mig=True, free_bytes=0, slices=(part,))
    ours = replace(GPU, uuid="GPU-cc33", memory_bytes=10 * GIB, free_bytes=None)
    assert outcome("memory-already-used", machine(cut, cuda=(ours,))).verdict == "passed"
    full = replace(cut, slices=(replace(part, free_bytes=0),))
    assert "another process" in only("memory-already-used", machine(full, cuda=(ours,))).message
    assert outcome("memory-already-used", machine(replace(GPU, mig=True))).verdict == "unproven"


# --- speed ----------------------------------------------------------------------------------


def test_clocks_held_down() -> None:
    """A warning, with what to look at."""
    finding = only("gpu-throttled", machine(replace(GPU, throttle=("hw-thermal", "new-word"))))
    assert "too hot (hardware slowdown), new-word" in finding.message
    assert finding.severity == "warning"
    assert outcome("gpu-throttled", machine(GPU)).verdict == "passed"


@pytest.mark.parametrize(
    ("name", "fabric", "links", "down"),
    [
        ("NVIDIA H100 80GB HBM3", "completed", [(18, 18), (18, 18)], 0),
        ("NVIDIA H100 80GB HBM3", "completed", [(18, 18), (17, 18)], 1),
        ("NVIDIA H100 80GB HBM3", None, [(18, 18), (0, 18)], 1),
        ("NVIDIA X", "completed", [(18, 18), (0, 18)], 1),
        ("NVIDIA RTX A6000", None, [(4, 4), (0, 4)], 0),
        ("NVIDIA A100-PCIE-40GB", "not-supported", [(0, 12), (0, 12)], 0),
    ],
)
def test_links(name: str, fabric: str | None, links: list[tuple[int, int]], down: int) -> None:
    """Fewer than a neighbour of the same kind; none at all is a board without a bridge."""
    gpus = [
        replace(
            GPU,
            index=index,
            name=name,
            uuid=f"GPU-{index}{index}",
            bus_id=None,
            fabric=fabric,
            links_active=active,
            links_total=total,
        )
        for index, (active, total) in enumerate(links)
    ]
    assert len(outcome("nvlink-down", machine(*gpus)).findings) == down


def test_gpus_without_links() -> None:
    """Nothing to compare."""
    assert outcome("nvlink-down", machine(GPU)).verdict == "inapplicable"


# --- which GPUs are looked at ---------------------------------------------------------------


def test_gpus_are_matched_by_identity_else_by_number() -> None:
    """A libcuda that tells no identity lists as many in the same order."""
    by_bus = replace(GPU, uuid=None)
    assert in_use(machine(OTHER, GPU, cuda=(by_bus,)))[0].state is not OTHER
    bare = replace(GPU, uuid=None, bus_id=None, context=0)
    [seen] = in_use(machine(GPU, cuda=(bare,)))
    assert (seen.state, seen.context) == (GPU, 0)
    assert len(in_use(machine(GPU, OTHER, cuda=(bare,)))) == 2
    silent = replace(machine(cuda=(GPU,)), nvml=LibraryAnswer())
    [alone] = in_use(silent)
    assert alone.label == "GPU 0 (NVIDIA H100)"
    assert alone.cuda is GPU


# --- what torch said ------------------------------------------------------------------------

WORDS = "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable"
EXCLUSIVE = replace(GPU, compute_mode="exclusive-process")


@pytest.mark.parametrize(
    ("state", "message", "check"),
    [
        (EXCLUSIVE, WORDS, "exclusive-process-mode"),
        (VIRTUAL, WORDS, "vgpu-unlicensed"),
        (
            GPU,
            "RuntimeError: CUDA error: uncorrectable ECC error encountered",
            "ecc-uncorrectable-row-remap",
        ),
    ],
)
@pytest.mark.parametrize("visible", [None, "GPU-aa11"])
def test_torchs_words_count_where_libcuda_was_not_asked(
    state: GpuState, message: str, check: str, visible: str | None
) -> None:
    """Each device's failure is of that GPU."""
    failed = device(
        visible=visible,
        kernel_right=None,
        matmul_right=None,
        ending=Ending(ended="error", stage="start CUDA", message=message),
    )
    facts = machine(state, OTHER)
    [found] = judge(subject(host=facts, probe=probe(devices=(failed,))), only=[check])
    [finding] = found.findings
    assert "GPU 0" in finding.message


def test_torchs_words_about_another_gpu_do_not_count() -> None:
    """Nor do warnings about something else."""
    failed = device("cuda:1", ending=Ending(ended="error", message=WORDS))
    facts = machine(EXCLUSIVE, OTHER)
    run = torch_run(warnings=("something else",))
    given = subject(host=facts, probe=probe(devices=(failed,), torch=run))
    [found] = judge(given, only=["exclusive-process-mode"])
    assert found.verdict == "passed"
