"""What a lock says of its GPU build, row by row, before and after."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from envforge.model.cuda import CPU
from envforge.model.difference import GpuRow
from envforge.model.lock import Lock, LockedPackage, Target
from envforge.model.spec import TORCH_NAMES

ClaimOf = Callable[[Lock, str], Target | None]
"""What the packages of one platform amount to; None: no torch that is known."""
FACTS: Final = ("torch", "CUDA", "cuDNN", "NCCL", "driver", "GPUs", "source", "python")
_NCCL: Final = re.compile(r"nccl|nvidia-nccl(-cu\d+)?")
_GPUS: Final = "GPUs"


def rows(old: Lock, new: Lock, platforms: Iterable[str], claim_of: ClaimOf) -> tuple[GpuRow, ...]:
    """All facts that either side knows, in the order of `FACTS`; equal rows are one row."""
    found: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for platform in platforms:
        before = facts(old.for_platform(platform), claim_of(old, platform), platform)
        after = facts(new.for_platform(platform), claim_of(new, platform), platform)
        for fact in FACTS:
            values = before.get(fact, ()), after.get(fact, ())
            if any(values):
                found.setdefault((fact, *values), []).append(platform)
    ordered = sorted(found.items(), key=lambda item: (FACTS.index(item[0][0]), item[1]))
    return tuple(_row(*key, tuple(at)) for key, at in ordered)


def facts(
    packages: Sequence[LockedPackage], claim: Target | None, platform: str
) -> Mapping[str, tuple[str, ...]]:
    """The facts of one platform; those that are not known are left out."""
    by_name = {item.name: item for item in packages}
    torch = next((by_name[name] for name in TORCH_NAMES if name in by_name), None)
    if torch is None:
        return {}
    python = by_name.get("python")
    nccl = next((item.version for item in packages if _NCCL.fullmatch(item.name)), "")
    values = {"torch": torch.version, "NCCL": nccl, "python": python.version if python else ""}
    if claim is not None:
        values |= {
            "CUDA": str(claim.cuda) if claim.cuda else CPU.upper(),
            "cuDNN": claim.cudnn or "" if claim.cuda else "",
            "driver": f"{claim.min_driver} or newer" if claim.cuda and claim.min_driver else "",
            "source": claim.source,
            "NCCL": nccl or _bundled_nccl(claim, platform),
        }
    found: dict[str, tuple[str, ...]] = {fact: (value,) for fact, value in values.items() if value}
    if claim is not None and claim.cuda and claim.architectures:
        found[_GPUS] = tuple(claim.architectures)
    return found


def _bundled_nccl(claim: Target, platform: str) -> str:
    """The one inside torch itself, where the tables know the build."""
    if claim.cuda is None:
        return ""
    from envforge.matrix import reading

    wanted = claim.source, platform, claim.cuda
    found = (
        row.nccl
        for row in reading.load().of(claim.torch)
        if (row.source, row.platform, row.cuda) == wanted
    )
    return next(found, None) or ""


def _row(
    fact: str, before: tuple[str, ...], after: tuple[str, ...], platforms: tuple[str, ...]
) -> GpuRow:
    both = fact == _GPUS and before and after
    old, new = ({_bare(item) for item in side} for side in (before, after))
    return GpuRow(
        fact=fact,
        before=" ".join(before),
        after=" ".join(after),
        platforms=platforms,
        gained=tuple(item for item in after if _bare(item) not in old) if both else (),
        lost=tuple(item for item in before if _bare(item) not in new) if both else (),
    )


def _bare(architecture: str) -> str:
    """Without the mark that PTX for it is there too."""
    return architecture.removesuffix("+PTX")
