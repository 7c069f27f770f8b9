"""The GPU architectures of a build, in the terms of the matrix, whichever witness names them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from envforge.errors import InvalidValue
from envforge.matrix.gpus import Compiled
from envforge.model.cuda import ComputeCapability
from envforge.verify.facts import DeviceCode, Subject

_TORCH: Final = re.compile(r"libtorch_cuda(_cu|_cpp|_linalg)?\.so")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build has code for, and who says so."""

    architectures: tuple[str, ...] = ()
    """`9.0` machine code, `9.0+PTX` both, `9.0(PTX)` PTX alone; empty: nobody knows."""
    witness: str = ""
    """`torch's own list`, the library that was read, or `the lock`."""
    ptx: tuple[int, int] | None = None
    """The newest version of its PTX, where the witness tells: `(8, 7)`."""
    is_file: bool = False
    """Whether the witness is a library's own code."""


def of_flags(flags: Iterable[str]) -> tuple[str, ...]:
    """`sm_90 compute_120 sm_120`, as torch prints them, become `9.0` and `12.0+PTX`."""
    code: dict[tuple[ComputeCapability, str], set[str]] = {}
    for flag in flags:
        kind, _, number = flag.partition("_")
        if kind in {"sm", "compute"} and (found := _compiled(number)):
            code.setdefault((found.capability, found.variant), set()).add(kind)
    return tuple(
        str(
            Compiled(
                capability=capability,
                variant=variant,  # type: ignore[arg-type]
                machine_code="sm" in kinds,
                ptx="compute" in kinds,
            )
        )
        for (capability, variant), kinds in sorted(code.items())
    )


def _compiled(number: str) -> Compiled | None:
    try:
        return Compiled.parse(number)
    except InvalidValue:
        return None


def of_build(subject: Subject) -> tuple[str, ...]:
    """The architectures of torch, by the best witness; empty: nobody says."""
    return built(subject).architectures


def built(subject: Subject) -> Built:
    """What torch has code for: what it says once imported, else its library, else the lock."""
    run = subject.probe.torch if subject.probe else None
    if run and run.architectures and (found := of_flags(run.architectures)):
        return Built(architectures=found, witness="torch's own list", ptx=_ptx(subject))
    libraries = torch_code(subject)
    if libraries and (found := of_flags(_common(libraries))):
        names = " and ".join(item.name for item in libraries)
        return Built(architectures=found, witness=names, ptx=_ptx(subject), is_file=True)
    if subject.target and subject.target.architectures:
        return Built(architectures=subject.target.architectures, witness="the lock")
    return Built()


def torch_code(subject: Subject) -> tuple[DeviceCode, ...]:
    """The GPU code of torch's own libraries, as far as it could be read.

    Linear algebra lies in a library of its own, which some builds link from elsewhere.
    """
    code = subject.prefix.code if subject.prefix else ()
    own = [item for item in code if _TORCH.fullmatch(item.name) and item.architectures]
    return tuple(item for item in own if "_linalg" not in item.name) or tuple(own)


def extension_code(subject: Subject) -> tuple[DeviceCode, ...]:
    """The GPU code of everything else."""
    code = subject.prefix.code if subject.prefix else ()
    return tuple(item for item in code if not _TORCH.fullmatch(item.name) and item.architectures)


def package_of(code: DeviceCode) -> str:
    """`xformers` of `…/site-packages/xformers/_C.so`, `flash_attn_2_cuda` of a file there."""
    inside = code.path.rpartition("site-packages/")[2]
    parts = [part for part in inside.split("/") if not part.endswith(".egg")]
    return parts[0].partition(".")[0]


def _common(libraries: Sequence[DeviceCode]) -> Iterable[str]:
    return (flag for item in libraries for flag in item.architectures if flag not in item.rare)


def _ptx(subject: Subject) -> tuple[int, int] | None:
    return max((item.ptx for item in torch_code(subject) if item.ptx), default=None)
