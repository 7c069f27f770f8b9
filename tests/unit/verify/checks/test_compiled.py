"""torch.compile, and all GPUs together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.facts import probe, subject

from envforge.model.finding import Outcome
from envforge.verify.facts import AllReduce, CompileRun, CompileStep, Ending, Rank, Subject
from envforge.verify.verify import judge

FIRST = CompileStep(right=True, seconds=20.0, misses=2)
SECOND = CompileStep(right=True, seconds=2.0, hits=2)


def compiled(device: str = "cuda:0", first: CompileStep = FIRST, second: Any = SECOND) -> Subject:
    run = CompileRun(device=device, first=first, second=second)
    return subject(probe=probe(compile=(run,)))


def outcome(check: str, facts: Subject) -> Outcome:
    [found] = judge(facts, only=[check])
    return found


def failed(message: str, ended: str = "error") -> CompileStep:
    return CompileStep(ending=Ending(ended=ended, stage="compile", message=message))


def test_a_compiler_that_works() -> None:
    for check in ("torch-compile-fails", "compile-cache-missed"):
        assert outcome(check, compiled()).verdict == "passed"


@pytest.mark.parametrize(("device", "severity"), [("cuda:0", "error"), ("cpu", "warning")])
def test_a_failure_counts_where_it_is_used(device: str, severity: str) -> None:
    """The backend's own error is told, not dynamo's around it."""
    message = (
        "BackendCompilerFailed: backend='inductor' raised:\nRuntimeError: no good\n\nSet TORCH"
    )
    [found] = outcome("torch-compile-fails", compiled(device, failed(message), None)).findings
    assert found.severity == severity
    assert found.message.endswith("fails: RuntimeError: no good")


def test_other_ends_of_compilation() -> None:
    """No end, the second process, and a wrong result."""
    hangs = outcome("torch-compile-fails", compiled(first=failed("", "timeout"), second=None))
    assert "no end at `compile`" in hangs.findings[0].message
    second = outcome("torch-compile-fails", compiled(second=failed("E: InvalidCxxCompiler")))
    assert "C compiler" in second.findings[0].remedy
    wrong = outcome("torch-compile-fails", compiled(second=replace(SECOND, right=False)))
    assert "wrong result" in wrong.findings[0].message
    driver = failed("RuntimeError: CUDA error: out of memory")
    assert "nvidia-smi" in outcome("torch-compile-fails", compiled(first=driver)).findings[0].remedy


@pytest.mark.parametrize(
    "step",
    [
        CompileStep(skipped="torch 1.13.1 has no torch.compile"),
        failed("RuntimeError: Dynamo is not supported on Python 3.12+"),
        failed("RuntimeError: Found Tesla P100 which is too old to be supported by the triton GPU"),
    ],
)
def test_where_torch_says_itself_that_it_cannot(step: CompileStep) -> None:
    for check in ("torch-compile-fails", "compile-cache-missed"):
        assert outcome(check, compiled(first=step, second=None)).verdict == "inapplicable"


def test_what_was_not_tried_is_not_proven() -> None:
    assert outcome("torch-compile-fails", subject()).verdict == "unproven"


def test_the_cache() -> None:
    """A miss is a warning; a cache that says nothing, or was not usable, is not judged."""
    missed = outcome("compile-cache-missed", compiled(second=replace(SECOND, hits=0, misses=1)))
    assert [item.severity for item in missed.findings] == ["warning"]
    assert "20.0 s, then 2.0 s" in missed.findings[0].seen
    for second in (replace(SECOND, hits=0), replace(SECOND, bypasses=1), None):
        assert outcome("compile-cache-missed", compiled(second=second)).verdict == "unproven"


# --- all GPUs together ----------------------------------------------------------------------

GOOD = Rank(right=True, seconds=0.5)
HANGS = Rank(ending=Ending(ended="timeout", stage="all-reduce"))


def together(*ranks: Rank, without_p2p: tuple[Rank, ...] = ()) -> Subject:
    return subject(probe=probe(all_reduce=AllReduce(ranks=ranks, without_p2p=without_p2p)))


def test_gpus_that_work_together() -> None:
    assert outcome("nccl-allreduce-fails", together(GOOD, GOOD)).verdict == "passed"
    assert outcome("nccl-allreduce-fails", subject()).verdict == "unproven"
    skipped = Rank(skipped="this torch has no NCCL")
    assert outcome("nccl-allreduce-fails", together(skipped)).verdict == "inapplicable"


def refused(text: str, trace: str = "") -> Rank:
    return Rank(ending=Ending(ended="error", stage="meet", message=text, trace=trace))


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (together(HANGS, HANGS, without_p2p=(GOOD, GOOD)), "works without direct copies"),
        (together(HANGS, HANGS, without_p2p=(HANGS, HANGS)), "no end at `all-reduce`"),
        (together(GOOD, replace(GOOD, right=False)), "over 2 GPUs gives a wrong sum"),
        (together(HANGS, refused("DistBackendError: NCCL error")), "DistBackendError: NCCL error"),
        (together(refused("E: NCCL error")), "on one GPU fails"),
        (
            together(refused("E", "x\nh:1 NCCL WARN No space left on /dev/shm")),
            "NCCL WARN No space",
        ),
        (together(refused("E", "x\nh:1 NCCL WARN No space left on /dev/shm")), "--shm-size"),
        (together(refused("RuntimeError: CUDA out of memory")), "nvidia-smi"),
    ],
)
def test_gpus_that_do_not(facts: Subject, says: str) -> None:
    """An error of one rank says more than the hang of those who wait for it."""
    [found] = outcome("nccl-allreduce-fails", facts).findings
    assert says in f"{found.message}\n{found.seen}\n{found.remedy}"
