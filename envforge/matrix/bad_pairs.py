"""Known-bad pairs: constraints for the solver, and what a person should be told."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Final

from envforge.matrix import versions
from envforge.matrix.tables import BadPair, Matrix
from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.machine import Gpu
from envforge.model.spec import Constraint, Source

_COMPARE: Final = {"<": operator.lt, ">=": operator.ge}


def constraints_for(
    torch: str,
    cuda: CudaVersion | None,
    source: Source,
    python: str | None,
    platforms: Sequence[str],
    *,
    matrix: Matrix,
) -> tuple[Constraint, ...]:
    """The ranges that keep known-bad packages away from this torch, each with its source.

    `python` is major.minor; None: not known, so pairs of one Python do not count.
    """
    return tuple(
        Constraint(
            package=pair.package, range=pair.range, reason=pair.text, source=_documented(pair)
        )
        for pair in matching(torch, cuda, source, python, platforms, matrix=matrix)
        if pair.effect == "constraint"
    )


def matching(
    torch: str,
    cuda: CudaVersion | None,
    source: Source,
    python: str | None,
    platforms: Sequence[str],
    *,
    matrix: Matrix,
) -> Iterator[BadPair]:
    """The known-bad pairs whose conditions hold, conditions on GPUs aside."""
    for pair in matrix.bad_pairs:
        if (
            (not pair.sources or source in pair.sources)
            and (not pair.pythons or python in pair.pythons)
            and (not pair.cudas or cuda in pair.cudas)
            and (not pair.platforms or not set(pair.platforms).isdisjoint(platforms))
            and versions.matches(torch, pair.torch)
        ):
            yield pair


def is_avoided(
    torch: str,
    cuda: CudaVersion | None,
    source: Source,
    python: str | None,
    platforms: Sequence[str],
    *,
    matrix: Matrix,
) -> bool:
    """Whether this would not be chosen for someone who did not ask for it."""
    found = matching(torch, cuda, source, python, platforms, matrix=matrix)
    return any(pair.effect == "avoid" for pair in found)


def concerns(pair: BadPair, gpus: Sequence[Gpu]) -> bool:
    """Whether a pair's condition on GPUs holds for one of these; without a condition, always."""
    return not pair.gpus or any(_meets(gpu.capability, pair.gpus) for gpu in gpus)


def _meets(capability: ComputeCapability, condition: str) -> bool:
    for sign, compare in _COMPARE.items():
        if condition.startswith(sign):
            return bool(compare(capability, ComputeCapability.parse(condition.removeprefix(sign))))
    return capability == ComputeCapability.parse(condition)


def _documented(pair: BadPair) -> str:
    return ", ".join(name.removeprefix("gh:") for name in pair.references if name.startswith("gh:"))
