"""The GPU architectures of a build, in the terms of the matrix, whichever witness names them."""

from __future__ import annotations

from collections.abc import Iterable

from envforge.errors import InvalidValue
from envforge.model.cuda import ComputeCapability
from envforge.verify.facts import Subject


def of_flags(flags: Iterable[str]) -> tuple[str, ...]:
    """`sm_90 compute_120 sm_120`, as torch prints them, become `9.0` and `12.0+PTX`."""
    machine_code = {item for flag in flags if (item := _capability(flag, "sm_"))}
    ptx = {item for flag in flags if (item := _capability(flag, "compute_"))}
    return tuple(f"{item}+PTX" if item in ptx else str(item) for item in sorted(machine_code | ptx))


def _capability(flag: str, kind: str) -> ComputeCapability | None:
    if not flag.startswith(kind):
        return None
    try:
        return ComputeCapability.parse(flag)
    except InvalidValue:
        return None


def of_build(subject: Subject) -> tuple[str, ...]:
    """What torch itself says once imported, else what the lock says; empty: nobody does."""
    if subject.probe and subject.probe.torch and subject.probe.torch.architectures:
        return of_flags(subject.probe.torch.architectures)
    return subject.target.architectures if subject.target else ()
