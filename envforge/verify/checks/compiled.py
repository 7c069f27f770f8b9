"""Does torch.compile work, and do all GPUs work together?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from envforge.model.finding import Finding, Severity
from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.live import (
    EXAMINE,
    cuda_torch,
    detail,
    how,
    imported_torch,
    name_of,
    no_gpu,
)
from envforge.verify.cuda_errors import cause_of
from envforge.verify.facts import CompileRun, CompileStep, DeviceRun, Ending, Rank, Subject

_NOT_FOR_THIS: Final = re.compile(
    r"not (yet )?supported on (Python|Windows)|Windows not yet supported|too old to be supported"
    r"|not supported on Python",
    re.IGNORECASE,
)
"""torch.compile says itself that this Python, system or GPU is none of its own."""
_RAISED: Final = re.compile(r"raised:\s*\n(?P<first>[^\n]+)")


@check(
    level="live",
    needs=("probe",),
    symptom="BackendCompilerFailed, CalledProcessError or a wrong result after torch.compile",
    cause="no C compiler, no Python.h, another Triton than torch's, a cache that cannot be written",
    fix="install a compiler and the Triton that torch names; let TMPDIR be a folder that can be"
    " written and executed from",
    why="programs that compile their model stop, or compute something else than without",
    source="PyTorch documentation, torch.compile troubleshooting; pytorch/pytorch#127271",
    after=(
        "triton-torch-mismatch",
        "no-c-compiler",
        "python-headers-missing",
        "triton-libcuda-not-found",
        "ptxas-too-old",
        "inductor-cache-perm",
        "tmp-noexec",
        "gpu-kernel-fails",
    ),
)
def torch_compile_fails(subject: Subject) -> Iterator[Finding]:
    """torch.compile works, and what it makes computes right."""
    for run in _compiled(subject):
        for step in _steps(run):
            yield from _compile_failed(subject, run, step)


def _compile_failed(subject: Subject, run: CompileRun, step: CompileStep) -> Iterator[Finding]:
    # On a CPU few programs need it; where there is a GPU, all that use it do.
    severity: Severity = "warning" if run.device == "cpu" else "error"
    what = f"torch.compile on {_label(subject, run.device)}"
    if not step.ending.is_good:
        yield Finding(
            message=f"{what} fails: {_reason(step.ending)}",
            seen=f"{step.ending.ended} at `{step.ending.stage}`: {_reason(step.ending)}",
            expected="a compiled function",
            remedy=_compile_remedy(subject, step.ending),
            severity=severity,
        )
    elif step.right is False:
        yield Finding(
            message=f"{what} gives a wrong result",
            seen="numbers that are off by more than rounding",
            expected="the numbers that the same function gives without it",
            remedy=remedies.install(subject),
            severity=severity,
        )


def _compile_remedy(subject: Subject, ending: Ending) -> str:
    text = ending.message
    cause = cause_of(text)
    if cause is not None:
        return cause.remedy
    if "compiler" in text.lower() or "Python.h" in text:
        return "install a C compiler and Python's headers, or name one in the variable CC"
    return remedies.install(subject)


def _reason(ending: Ending) -> str:
    """The error of the backend itself, which dynamo wraps in one of its own."""
    found = _RAISED.search(ending.message)
    return found["first"].strip() if found else how(ending)


@check(
    level="live",
    needs=("probe",),
    severity="warning",
    symptom="every start of a program compiles everything anew, for minutes",
    cause="the cache of compiled graphs is off, or what it keys on changes from run to run",
    fix="unset TORCHINDUCTOR_FORCE_DISABLE_CACHES; let TORCHINDUCTOR_CACHE_DIR name a folder that"
    " lasts",
    why="what was compiled once should be found again",
    source="PyTorch documentation, compile time caching in torch.compile",
    after=("torch-compile-fails",),
)
def compile_cache_missed(subject: Subject) -> Iterator[Finding]:
    """A second process finds what the first one compiled."""
    for run in _compiled(subject):
        second = run.second
        if second is None or not second.ending.is_good:
            raise CannotLook("torch.compile did not get to its end twice")
        if second.bypasses or not (second.hits or second.misses):
            raise CannotLook("this torch does not tell whether its caches were used")
        if not second.hits:
            yield Finding(
                message=f"torch.compile on {_label(subject, run.device)} does not find what it"
                " compiled before",
                seen=f"{second.misses} misses and no hit; {run.first.seconds} s, then"
                f" {second.seconds} s",
                expected="a hit in the second process",
                remedy="unset TORCHINDUCTOR_FORCE_DISABLE_CACHES TORCHINDUCTOR_FX_GRAPH_CACHE",
            )


def _compiled(subject: Subject) -> tuple[CompileRun, ...]:
    imported_torch(subject)
    runs = subject.probe.compile if subject.probe else ()
    if not runs:
        raise CannotLook("on the CPU `--level live` tries it, where a C++ compiler is")
    for run in runs:
        for step in _steps(run):
            if step.skipped:
                raise NotApplicable(step.skipped)
            if _NOT_FOR_THIS.search(step.ending.message):
                raise NotApplicable(_reason(step.ending))
    return runs


def _steps(run: CompileRun) -> tuple[CompileStep, ...]:
    return (run.first,) if run.second is None else (run.first, run.second)


def _label(subject: Subject, device: str) -> str:
    runs: Sequence[DeviceRun] = subject.probe.devices if subject.probe else ()
    known = next((name_of(run) for run in runs if run.device == device), device)
    return "the CPU" if device == "cpu" else known


# --- all GPUs together ----------------------------------------------------------------------


@check(
    level="live",
    needs=("host", "probe"),
    symptom="training on several GPUs stops at its first step, or hangs there",
    cause="GPUs that cannot reach one another, too little /dev/shm, or another NCCL than torch's",
    fix="find what NCCL_DEBUG=INFO names; NCCL_P2P_DISABLE=1 avoids direct copies between GPUs",
    why="no training on more than one GPU gets anywhere",
    source="NVIDIA/nccl#257, NVIDIA/nccl#631, NVIDIA/nccl-tests#117",
    after=("gpu-kernel-fails", "container-shm-too-small"),
)
def nccl_allreduce_fails(subject: Subject) -> Iterator[Finding]:
    """NCCL sums over all GPUs, and every one of them gets the sum."""
    cuda_torch(subject)
    tried = subject.probe.all_reduce if subject.probe else None
    if tried is None or not tried.ranks:
        raise CannotLook(no_gpu(subject))
    skipped = next((rank.skipped for rank in tried.ranks if rank.skipped), "")
    if skipped:
        raise NotApplicable(skipped)
    bad = _first_bad(tried.ranks)
    if bad is None:
        return
    count = len(tried.ranks)
    where = f"over {count} GPUs" if count > 1 else "on one GPU"
    if tried.without_p2p and _first_bad(tried.without_p2p) is None:
        yield Finding(
            message=f"an all-reduce {where} hangs, and works without direct copies between them",
            seen=f"no end at `{bad.ending.stage}`; with NCCL_P2P_DISABLE=1 the right sum",
            expected="the right sum on every GPU",
            remedy="export NCCL_P2P_DISABLE=1; to mend it, turn PCIe ACS off and boot with"
            " `iommu=pt`",
        )
    elif bad.ending.is_good:
        yield Finding(
            message=f"an all-reduce {where} gives a wrong sum",
            seen="another sum than that of whole numbers",
            expected="the right sum on every GPU",
            remedy=EXAMINE,
        )
    else:
        yield Finding(
            message=f"an all-reduce {where} fails: {how(bad.ending)}",
            seen=f"{bad.ending.ended} at `{bad.ending.stage}`: {_nccl_words(bad.ending)}",
            expected="the right sum on every GPU",
            remedy=_nccl_remedy(bad.ending),
        )


def _first_bad(ranks: Sequence[Rank]) -> Rank | None:
    """An error says more than the hang of those who wait for that rank."""
    bad = [rank for rank in ranks if not (rank.ending.is_good and rank.right)]
    told = [rank for rank in bad if rank.ending.ended != "timeout"]
    return next(iter(told or bad), None)


def _nccl_words(ending: Ending) -> str:
    """NCCL's own warning, where it printed one."""
    lines = [line.strip() for line in ending.trace.splitlines()]
    return next((line for line in lines if "NCCL WARN" in line), detail(ending))


def _nccl_remedy(ending: Ending) -> str:
    text = ending.message + ending.trace
    cause = cause_of(ending.message)
    if cause is not None:
        return cause.remedy
    if re.search(r"/dev/shm|shared memory", text):  # noqa: S108 - text of NCCL
        return "give the container more shared memory: `--ipc=host` or `--shm-size=8g`"
    return "NCCL_DEBUG=INFO tells more; try NCCL_P2P_DISABLE=1, then NCCL_SHM_DISABLE=1"
