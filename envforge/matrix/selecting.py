"""From a request to the cell that answers it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from envforge.errors import InvalidValue
from envforge.matrix import bad_pairs, running, versions
from envforge.matrix.existing import Cell, cells
from envforge.matrix.tables import Matrix
from envforge.model.cuda import CudaVersion
from envforge.model.machine import CUDA_PLATFORMS, PLATFORMS, Machine
from envforge.model.spec import AUTO, HOST, LATEST, SOURCES, Request, Source

_TORCH: Final = re.compile(r"(?:torch={1,2}|v)?\d+\.\d+(?:\.\d+)?")
_PYTHON: Final = re.compile(r"\d\.\d{1,2}(?:\.\d{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A request with every word that stands for a choice spelled out, best first."""

    torches: tuple[str, ...]
    """Releases that would do, newest first; empty: there is no such release."""
    cudas: tuple[CudaVersion | None, ...]
    sources: tuple[Source, ...]
    python: str | None
    """major.minor."""
    platforms: tuple[str, ...]
    cuda_is_free: bool
    """`--cuda auto` on a machine with a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """The best cell there is, and how it runs; None: there was no machine to judge by."""

    cell: Cell
    verdict: running.Verdict | None

    @property
    def runs(self) -> bool:
        """Nothing we know speaks against it."""
        return self.verdict is None or self.verdict.runs


def query_of(
    request: Request, machine: Machine | None, matrix: Matrix, host_python: str | None
) -> Query:
    """Spell a request out.

    Raises:
        InvalidValue: a version, platform or source that cannot mean what it is used for.
    """
    _check_platforms(request)
    is_free = request.cuda == AUTO and _may_have_cuda(request, machine)
    return Query(
        torches=releases_of(request.torch, matrix),
        cudas=_cudas(request, is_free=is_free, matrix=matrix),
        sources=_sources(request),
        python=_python(request.python, host_python),
        platforms=request.platforms,
        cuda_is_free=is_free,
    )


def select(query: Query, matrix: Matrix, machine: Machine | None) -> Selected | None:
    """The best cell: the newest torch of those asked for, and of its cells the best that runs.

    Without one that runs, the one that is nearest to running; None where nothing exists.
    """
    closest: Selected | None = None
    for torch in query.torches:
        found = [_judged(cell, machine, matrix) for cell in candidates(query, torch, matrix)]
        running_ones = [item for item in found if item.runs]
        if running_ones:
            return min(running_ones, key=lambda item: _preference(item, query, matrix))
        if closest is None and found:
            closest = found[-1] if query.cuda_is_free else found[0]
    return closest


def plain_torch(text: str) -> str:
    """`2.0.1` of what was typed: `2.0.1`, `v2.0.1` or `torch==2.0.1`."""
    return text.strip().removeprefix("torch").lstrip("=v")


def candidates(query: Query, torch: str, matrix: Matrix) -> Iterator[Cell]:
    """The cells of one release that exist, by CUDA and then by source, best first."""
    for cuda in query.cudas:
        yield from cells(
            torch,
            cuda,
            matrix,
            platforms=query.platforms,
            python=query.python,
            sources=query.sources,
        )


def _judged(cell: Cell, machine: Machine | None, matrix: Matrix) -> Selected:
    if machine is None or cell.cuda is None or not running.has_gpu(machine):
        return Selected(cell=cell, verdict=None)
    build = cell.primary
    found = running.verdict(cell.cuda, build.architectures, machine, matrix, build.platform)
    return Selected(cell=cell, verdict=found)


def _preference(item: Selected, query: Query, matrix: Matrix) -> tuple[bool, bool]:
    """Known-bad cells last; where we choose the CUDA, one whose code for the GPU is certain."""
    cell = item.cell
    is_bad = bad_pairs.is_avoided(
        cell.torch, cell.cuda, cell.source, query.python, query.platforms, matrix=matrix
    )
    is_unsure = bool(item.verdict and item.verdict.state == "unknown")
    return is_bad, is_unsure and query.cuda_is_free


def _check_platforms(request: Request) -> None:
    for platform in request.platforms:
        if platform not in PLATFORMS:
            raise InvalidValue(
                what="platform",
                value=platform,
                reason="is not one that torch is built for here",
                remedy=f"one of {', '.join(PLATFORMS)}",
            )
        if isinstance(request.cuda, CudaVersion) and platform not in CUDA_PLATFORMS:
            raise InvalidValue(
                what="platform",
                value=platform,
                reason=f"has no CUDA, and CUDA {request.cuda} was asked for",
                remedy="one folder has one accelerator: make another one with `--cuda cpu`",
            )


def _may_have_cuda(request: Request, machine: Machine | None) -> bool:
    return running.has_gpu(machine) and all(item in CUDA_PLATFORMS for item in request.platforms)


def releases_of(text: str, matrix: Matrix) -> tuple[str, ...]:
    """The releases that `latest` (all), a minor or a full version names, newest first.

    Raises:
        InvalidValue: not a version, or a bare major.
    """
    newest_first = tuple(row.torch for row in reversed(matrix.releases))
    if text == LATEST:
        return newest_first
    if not _TORCH.fullmatch(text.strip()):
        raise _not_a_torch(text, newest_first[0])
    wanted = plain_torch(text)
    return tuple(item for item in newest_first if wanted in {item, versions.minor(item)})


def _not_a_torch(text: str, newest: str) -> InvalidValue:
    examples = (
        f"`latest`, a minor such as `{versions.minor(newest)}`, or a release such as `{newest}`"
    )
    if re.fullmatch(r"\d+", text.strip()):
        reason = "names a major version only, which leaves too much open"
    elif "+" in text:
        reason = "names a build"
        examples = f"`--torch {text.partition('+')[0]}`, and the build with `--cuda`"
    else:
        reason = "is not a version of torch"
    return InvalidValue(what="torch version", value=text, reason=reason, remedy=f"give {examples}")


def _cudas(request: Request, *, is_free: bool, matrix: Matrix) -> tuple[CudaVersion | None, ...]:
    if is_free:
        return tuple(reversed(matrix.cudas))
    return (request.cuda if isinstance(request.cuda, CudaVersion) else None,)


def _sources(request: Request) -> tuple[Source, ...]:
    if request.python == HOST:
        if request.source not in {AUTO, "wheels"}:
            raise InvalidValue(
                what="source",
                value=request.source,
                reason="has its own Python, and `--python host` was asked for",
                remedy="`--source wheels`, or leave `--python host` out",
            )
        return ("wheels",)
    return SOURCES if request.source == "auto" else (request.source,)


def _python(text: str | None, host_python: str | None) -> str | None:
    if text is None:
        return None
    if text == HOST:
        if host_python is None:
            raise ValueError("`--python host` needs the version of the interpreter that runs us")
        return versions.minor(host_python)
    if not _PYTHON.fullmatch(text.strip()):
        raise InvalidValue(
            what="Python version",
            value=text,
            reason="is not of the form 3.11 or 3.11.9",
            remedy="give major and minor, for example `--python 3.11`, or `host`",
        )
    return versions.minor(text.strip())
