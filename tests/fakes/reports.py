"""Reports to show, built by hand: one of each kind that a person may see."""

from __future__ import annotations

from envforge.model.finding import Finding, Outcome, Report, Severity, Unseen, Verdict

NAME = "nlp-bert-torch20-cu118"
_CLAIMS = {
    "prefix-incomplete": "An install began here and ended",
    "other-cuda-build": "The installed torch was compiled with the CUDA that was asked for",
    "lock-drift": "What is installed is what is locked, no more and no less",
    "driver-too-old": "The driver is new enough for the CUDA that torch was compiled with",
    "arch-too-new": "The build has code for GPUs as new as these",
    "gpu-kernel-fails": "A kernel runs on every GPU, and its result is right",
    "gpu-matmul-wrong": "Matrix products on every GPU agree with the CPU's within rounding",
}
_PROVEN = {
    "torch": "2.0.1, imported",
    "CUDA compiled": "11.8",
    "cuDNN compiled": "8.7.0",
    "cuDNN loaded": "8.7.0",
    "driver": "535.104.05, runs CUDA 12.2 natively",
    "GPU 0": "NVIDIA H100 (9.0), 80 GiB: kernel and matmul right",
}


def _finding(check: str, message: str, severity: Severity = "error") -> Finding:
    return Finding(
        check=check,
        message=message,
        seen="CUDA 11.7, by its files",
        expected="CUDA 11.8",
        why="the driver floor, the libraries and every extension hang on the CUDA release",
        remedy=f"envforge install {NAME}",
        source="pytorch/pytorch#144433",
        severity=severity,
    )


_WRONG_CUDA = _finding(
    "other-cuda-build", "torch was compiled with CUDA 11.7, and CUDA 11.8 was asked for"
)
_TOO_MUCH = _finding(
    "lock-drift", "1 package installed that the lock does not hold: black 25.1", "warning"
)


def _report(
    *findings: Finding, unproven: tuple[str, ...] = (), reason: str = "", **fields: object
) -> Report:
    told = {name: tuple(item for item in findings if item.check == name) for name in _CLAIMS}

    def verdict(name: str) -> Verdict:
        return "failed" if told[name] else "unproven" if name in unproven else "passed"

    outcomes = tuple(
        Outcome(
            check=name,
            claim=claim,
            verdict=verdict(name),
            findings=told[name],
            detail=reason if verdict(name) == "unproven" else "",
        )
        for name, claim in _CLAIMS.items()
    )
    given = {"prefix": f"/envs/{NAME}", "level": "live", "proven": _PROVEN, **fields}
    return Report(subject=NAME, outcomes=outcomes, **given)  # type: ignore[arg-type]


BROKEN = _report(_WRONG_CUDA)
HEALTHY = _report()
WARNED = _report(_TOO_MUCH)
NO_GPU = _report(
    unproven=("driver-too-old", "arch-too-new", "gpu-kernel-fails", "gpu-matmul-wrong"),
    reason="no NVIDIA driver on this machine",
    level="import",
    proven={"torch": "2.0.1, imported"},
)
CRASHED = Report(
    subject="x",
    prefix="",
    level="static",
    outcomes=(Outcome(check="odd", claim="c", verdict="crashed", detail="KeyError: 1"),),
)
UNSEEN = Report(
    subject="x",
    prefix="/p",
    level="import",
    outcomes=(),
    unseen=(
        Unseen(
            what="probe",
            reason="the interpreter gave no answer: it hung",
            remedy="see to it",
        ),
    ),
)
ASKED = Report(
    subject="x",
    prefix="/p",
    level="static",
    outcomes=(Outcome(check="odd", claim="c", verdict="unproven", detail="no GPU"),),
    asked=("odd",),
)
_BAD = "\x1b[2J\x07\x00]]>&<\"'%,:\r\n::error::x\udcff\u202e|`end`"
HOSTILE = Report(
    subject=_BAD,
    prefix=_BAD,
    level="import",
    outcomes=(
        Outcome(
            check="odd",
            claim=_BAD,
            verdict="failed",
            findings=(
                Finding(
                    check="odd",
                    message=_BAD,
                    seen=_BAD,
                    expected=_BAD,
                    why=_BAD,
                    remedy=_BAD,
                    source=_BAD,
                ),
                Finding(
                    check="odd",
                    message=_BAD,
                    seen=_BAD,
                    expected=_BAD,
                    remedy=_BAD,
                    severity="warning",
                ),
            ),
        ),
        Outcome(check="mute", claim=_BAD, verdict="unproven", detail=_BAD),
        Outcome(check="none", claim=_BAD, verdict="inapplicable", detail=_BAD),
        Outcome(check="dead", claim=_BAD, verdict="crashed", detail=_BAD),
    ),
    proven={_BAD: _BAD},
    unseen=(Unseen(what="probe", reason=_BAD, remedy=_BAD),),
)
"""What a hostile file name could bring into every field."""
