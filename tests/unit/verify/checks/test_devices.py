"""How CUDA_VISIBLE_DEVICES is read, and how GPUs are numbered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.facts import H100, host, no_driver, subject

from envforge.model.finding import Outcome
from envforge.verify.facts import GpuState, HostFacts, LibraryAnswer, MigSlice
from envforge.verify.verify import judge

FAST = GpuState(index=0, name="H200", uuid="GPU-aa11", bus_id="0000:01:00.0")
SLOW = GpuState(index=1, name="A2000", uuid="GPU-aa22", bus_id="0000:02:00.0")
CUT = replace(FAST, mig=True, slices=(MigSlice(uuid="MIG-cc33"),))


def outcome(check: str, facts: HostFacts, **changes: Any) -> Outcome:
    [found] = judge(subject(host=facts, probe=None, level="static", **changes), only=[check])
    return found


def machine(
    cuda: tuple[GpuState, ...], nvml: tuple[GpuState, ...], *, code: int = 0, **variables: str
) -> HostFacts:
    base = host()
    return replace(
        base,
        cuda=LibraryAnswer(init=code, states=cuda, gpus=(H100,) * len(cuda)),
        nvml=LibraryAnswer(init=0, states=nvml, gpus=(H100,) * len(nvml)),
        variables=variables,
    )


def hidden(value: str, *states: GpuState) -> Outcome:
    facts = machine((), states, code=100, CUDA_VISIBLE_DEVICES=value)
    return outcome("cvd-empty-or-invalid", facts)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "hides every GPU"),
        (" ", "hides every GPU"),
        ("-1", "hides every GPU"),
        ("NoDevFiles", "hides every GPU"),
        ("all", "`all`, which is no GPU"),
        ("2", "GPU 2, which does not exist"),
        ("0,0", "names GPU 0 twice"),
        ("0, 00", "names GPU 00 twice"),
        ("GPU-aa11,gpu-AA1", "twice"),
        ("GPU-aa", "more than one GPU"),
        ("GPU-ff", "does not exist"),
        ("MIG-cc33", "MIG is off"),
        ("5,0", "what follows it is ignored"),
    ],
)
def test_values_that_hide(value: str, says: str) -> None:
    """Said in a way that shows what CUDA makes of it."""
    [finding] = hidden(value, replace(FAST, mig=False), replace(SLOW, mig=False)).findings
    assert says in finding.message
    assert finding.severity == "error"


@pytest.mark.parametrize(
    "value", ["0", "1,0", "0,-1", "GPU-aa11", "gpu-aa2", "GPU-aa11,GPU-aa22", "0,GPU-aa22"]
)
def test_values_that_choose(value: str) -> None:
    """Whatever keeps CUDA from starting then, it is not the variable."""
    assert hidden(value, FAST, SLOW).verdict == "passed"


@pytest.mark.parametrize(
    ("value", "passes"),
    [("MIG-cc33", True), ("MIG-GPU-aa11/1/0", True), ("MIG-dd", False), ("0", True), ("3", True)],
)
def test_slices(value: str, passes: bool) -> None:
    """By UUID, old and new; numbers count slices, which NVML does not number."""
    assert (hidden(value, CUT).verdict == "passed") is passes


def test_names_that_nobody_can_check() -> None:
    """A driver that tells no UUIDs."""
    assert hidden("GPU-ff", replace(FAST, uuid=None)).verdict == "passed"
    assert hidden("MIG-ff", replace(FAST, mig=None)).verdict == "passed"


def test_numbers_parted_by_something_else() -> None:
    """CUDA reads the first, and says nothing."""
    facts = machine((FAST,), (FAST, SLOW), CUDA_VISIBLE_DEVICES="0:1")
    [finding] = outcome("cvd-empty-or-invalid", facts).findings
    assert "is read as 0" in finding.message
    assert finding.severity == "warning"


def test_an_end_before_the_last() -> None:
    """A negative number ends the list, and something follows."""
    facts = machine((FAST,), (FAST, SLOW), CUDA_VISIBLE_DEVICES="0,-1,1")
    [finding] = outcome("cvd-empty-or-invalid", facts).findings
    assert "ends at `-1`" in finding.message


def test_values_that_are_wrong_without_asking_nvml() -> None:
    """Empty is empty; a number can only be judged by who counts."""
    facts = replace(machine((), (), code=100, CUDA_VISIBLE_DEVICES=""), nvml=LibraryAnswer(init=9))
    assert outcome("cvd-empty-or-invalid", facts).findings
    facts = replace(facts, variables={"CUDA_VISIBLE_DEVICES": "3"})
    assert outcome("cvd-empty-or-invalid", facts).verdict == "unproven"


def test_where_there_is_nothing_to_hide() -> None:
    """No GPU in the machine, or all in use whatever the variable says."""
    assert hidden("").verdict == "passed"
    facts = machine((FAST,), (FAST,), CUDA_VISIBLE_DEVICES="")
    assert outcome("cvd-empty-or-invalid", facts).verdict == "passed"


def test_the_runtimes_variable() -> None:
    """It explains why there is no GPU; where none is wanted, it explains nothing."""
    facts = machine((), (), code=100, NVIDIA_VISIBLE_DEVICES="void")
    [finding] = outcome("cvd-empty-or-invalid", facts).findings
    assert "--gpus all" in finding.remedy
    bare = no_driver(variables={"NVIDIA_VISIBLE_DEVICES": "none"})
    assert outcome("cvd-empty-or-invalid", bare).verdict == "unproven"
    assert outcome("cvd-empty-or-invalid", bare, require_gpu=True).findings
    there = machine((FAST,), (FAST,), NVIDIA_VISIBLE_DEVICES="void")
    assert outcome("cvd-empty-or-invalid", there).verdict == "passed"


@pytest.mark.parametrize(
    ("cuda", "variables", "agrees"),
    [
        ((FAST, SLOW), {}, False),
        ((FAST, SLOW), {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, True),
        ((FAST, SLOW), {"CUDA_VISIBLE_DEVICES": "0,1"}, True),
        ((SLOW, FAST), {}, False),
        ((SLOW, FAST), {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, False),
        ((SLOW,), {"CUDA_VISIBLE_DEVICES": "0"}, False),
        ((SLOW,), {"CUDA_VISIBLE_DEVICES": "1"}, True),
        ((SLOW,), {"CUDA_VISIBLE_DEVICES": "GPU-aa22"}, True),
    ],
)
def test_the_order(cuda: tuple[GpuState, ...], variables: dict[str, str], agrees: bool) -> None:
    """By identity; an order that is right by chance is not one that holds."""
    found = outcome("device-order-mismatch", machine(cuda, (FAST, SLOW), **variables))
    assert (found.verdict == "passed") is agrees


def test_the_order_by_name() -> None:
    """Where identities are not told, or are of no use."""
    bare = [replace(item, uuid=None, bus_id=None) for item in (FAST, SLOW)]
    right, wrong = (bare[0], bare[1]), (bare[1], bare[0])
    both = {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert outcome("device-order-mismatch", machine(right, (FAST, SLOW), **both)).verdict == (
        "passed"
    )
    assert outcome("device-order-mismatch", machine(wrong, (FAST, SLOW), **both)).findings


def test_gpus_of_one_kind_have_no_wrong_order() -> None:
    """Nor have those that CUDA does not list."""
    twin = replace(FAST, index=1, uuid="GPU-bb")
    assert outcome("device-order-mismatch", machine((twin, FAST), (FAST, twin))).verdict == (
        "inapplicable"
    )
    hidden_ones = machine((), (FAST, SLOW), code=100)
    assert outcome("device-order-mismatch", hidden_ones).verdict == "unproven"


def test_mig_mode() -> None:
    """Without slices CUDA finds nothing; with them, or off, it is somebody else's fault."""
    bare = replace(FAST, mig=True)
    [finding] = outcome("mig-without-slices", machine((), (bare,), code=100)).findings
    assert "sudo nvidia-smi -i 0 -mig 0" in finding.remedy
    assert outcome("mig-without-slices", machine((), (CUT,), code=100)).verdict == "passed"
    assert outcome("mig-without-slices", machine((SLOW,), (bare, SLOW))).verdict == "passed"
    assert outcome("mig-without-slices", machine((), (FAST,), code=100)).verdict == "inapplicable"
