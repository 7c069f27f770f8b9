"""The nearest requests that have an answer, as commands to copy."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from typing import TypeVar

from envforge.matrix import bad_pairs, versions
from envforge.matrix.selecting import Query, Selected, plain_torch, query_of, select
from envforge.matrix.tables import Matrix, minors
from envforge.model.cuda import CPU, CudaVersion
from envforge.model.machine import Machine
from envforge.model.spec import AUTO, LATEST, Request

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a command was asked, and the machine its answers are judged by (None: none)."""

    request: Request
    machine: Machine | None
    host_python: str | None = None
    command: str = "create"


def nearest(wish: Wish, matrix: Matrix) -> tuple[str, ...]:
    """Commands that have an answer: by torch, CUDA, Python or source, two of each at most.

    Where none of these alone helps, torch and CUDA together; at the last, a CPU build.
    """
    request = wish.request
    found = [
        *islice(_one_a_minor(_answered(_by_torch(request, matrix), wish, matrix)), 2),
        *islice(_answered(_by_cuda(request, matrix), wish, matrix), 2),
        *islice(_answered(_by_python(request, matrix), wish, matrix), 1),
        *islice(_answered(_by_source(request), wish, matrix), 1),
    ]
    found = found or list(_by_both(wish, matrix))
    found = found or list(_answered([replace(request, cuda=None)], wish, matrix))
    return tuple(dict.fromkeys(command_line(item, wish.machine, wish.command) for item in found))


def command_line(request: Request, machine: Machine | None, command: str = "create") -> str:
    """The command for a request, quoted for a shell; a described machine is described again."""
    words = ["envforge", command, request.project]
    words += ["--torch", request.torch, "--cuda", str(request.cuda) if request.cuda else CPU]
    if request.python:
        words += ["--python", request.python]
    for spec in request.packages:
        words += ["--with", spec]
    if request.template:
        words += ["--template", request.template]
    if request.source != AUTO:
        words += ["--source", request.source]
    for channel in request.channels:
        words += ["--channel", channel]
    if request.platforms != ("linux-64",):
        for platform in request.platforms:
            words += ["--platform", platform]
    if request.wheel_index != AUTO:
        words += ["--wheel-index", request.wheel_index]
    if request.exclude_newer:
        words += ["--exclude-newer", request.exclude_newer]
    return shlex.join(words + _description(machine))


def _description(machine: Machine | None) -> list[str]:
    if machine is None or machine.origin != "described":
        return []
    words = (
        ["--driver", machine.driver.version] if machine.driver and machine.driver.version else []
    )
    for gpu in machine.gpus:
        words += ["--gpu", gpu.name]
    return words


def _answered(requests: Iterable[Request], wish: Wish, matrix: Matrix) -> Iterator[Request]:
    for request in requests:
        query = query_of(request, wish.machine, matrix, wish.host_python)
        selected = select(query, matrix, wish.machine)
        if selected and selected.runs and not _is_avoided(selected, query, matrix):
            yield request


def _is_avoided(selected: Selected, query: Query, matrix: Matrix) -> bool:
    cell = selected.cell
    return bad_pairs.is_avoided(
        cell.torch, cell.cuda, cell.source, query.python, query.platforms, matrix=matrix
    )


def _one_a_minor(requests: Iterable[Request]) -> Iterator[Request]:
    seen: set[str] = set()
    for request in requests:
        minor = versions.minor(request.torch)
        if minor not in seen:
            seen.add(minor)
            yield request


def _by_torch(request: Request, matrix: Matrix) -> Iterator[Request]:
    """Releases by the distance of their minor, of each minor the newest first."""
    if request.torch == LATEST:
        return
    asked = versions.key(plain_torch(request.torch))
    for minor in _minors_outwards(asked, matrix):
        of_minor = [row.torch for row in matrix.releases if versions.minor(row.torch) == minor]
        for torch in reversed(of_minor):
            if versions.key(torch)[: len(asked)] != asked:
                yield replace(request, torch=torch)


def _minors_outwards(asked: tuple[int, ...], matrix: Matrix) -> Iterator[str]:
    known = minors(matrix.releases)
    below = [minor for minor in known if versions.key(minor) < asked[:2]]
    above = [minor for minor in known if versions.key(minor) > asked[:2]]
    yield from (minor for minor in known if versions.key(minor) == asked[:2])
    yield from _outwards(below, above)


def _by_cuda(request: Request, matrix: Matrix) -> Iterator[Request]:
    if not isinstance(request.cuda, CudaVersion):
        return
    asked = request.cuda
    below = [cuda for cuda in matrix.cudas if cuda < asked]
    above = [cuda for cuda in matrix.cudas if cuda > asked]
    same_major = [cuda for cuda in _outwards(below, above) if cuda.major == asked.major]
    others = [cuda for cuda in _outwards(below, above) if cuda.major != asked.major]
    for cuda in [*same_major, *others]:
        yield replace(request, cuda=cuda)


def _by_python(request: Request, matrix: Matrix) -> Iterator[Request]:
    if not request.python or request.python == "host":
        return
    asked = versions.key(versions.minor(request.python))
    known = sorted({item for build in matrix.builds for item in build.pythons}, key=versions.key)
    below = [python for python in known if versions.key(python) < asked]
    above = [python for python in known if versions.key(python) > asked]
    for python in _outwards(below, above):
        yield replace(request, python=python)


def _by_source(request: Request) -> Iterator[Request]:
    if request.source != AUTO and request.python != "host":
        yield replace(request, source=AUTO)


def _by_both(wish: Wish, matrix: Matrix) -> Iterator[Request]:
    """The nearest torch that runs with some CUDA, and the newest that does."""
    free = replace(wish.request, cuda=AUTO)
    near = islice(_answered(_by_torch(free, matrix), wish, matrix), 1)
    for request in [*near, replace(free, torch=LATEST)]:
        query = query_of(request, wish.machine, matrix, wish.host_python)
        selected = select(query, matrix, wish.machine)
        if selected and selected.runs and selected.cell.cuda:
            yield replace(wish.request, torch=selected.cell.torch, cuda=selected.cell.cuda)


def _outwards(below: Sequence[_T], above: Sequence[_T]) -> Iterator[_T]:
    """From both sides in turn, nearest first: the older one before the newer one."""
    for older, newer in zip_longest(reversed(below), above):
        if older is not None:
            yield older
        if newer is not None:
            yield newer
