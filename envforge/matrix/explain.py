"""Why a request has no answer, in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from envforge.matrix import versions
from envforge.matrix.existing import Cell, cudas_of
from envforge.matrix.selecting import Query, plain_torch
from envforge.matrix.tables import Build, Matrix
from envforge.model.cuda import accelerator_name
from envforge.model.spec import LATEST, Request, Source

NAMES = {"pytorch": "the pytorch channel", "conda-forge": "conda-forge", "wheels": "wheels"}


def wanted(request: Request, query: Query) -> str:
    """What was asked for: `2.0.1` with CUDA 12.4 on linux-64."""
    torch = "any release" if request.torch == LATEST else f"`{request.torch}`"
    cuda = "with any CUDA" if query.cuda_is_free else _accelerated(query)
    parts = [torch, cuda, f"on {versions.spell(request.platforms)}"]
    if query.python:
        parts.append(f"for Python {query.python}")
    if len(query.sources) == 1:
        parts.append(f"from {NAMES[query.sources[0]]}")
    return " ".join(parts)


def reason(request: Request, query: Query, matrix: Matrix) -> str:
    """The first condition that nothing meets, and what there is instead."""
    if not query.torches:
        return _no_release(request.torch, matrix)
    builds = [build for torch in query.torches for build in matrix.of(torch)]
    with_cuda = [build for build in builds if build.cuda in query.cudas]
    if not with_cuda:
        return f"it was published for {_accelerators(builds)}"
    own = [build for build in with_cuda if build.source in query.sources]
    if not own:
        return _no_source(query, with_cuda, matrix)
    here = [build for build in own if build.platform in query.platforms]
    missing = [item for item in query.platforms if item not in {build.platform for build in here}]
    if missing:
        there = versions.spell(_unique(build.platform for build in own))
        return f"there is none for {versions.spell(missing, conjunction='or')}, only for {there}"
    if query.python and not any(query.python in build.pythons for build in here):
        pythons = sorted({item for build in here for item in build.pythons}, key=versions.key)
        return f"it was built for Python {versions.spell(pythons)}"
    return "no source carries it for all of this at once"


def passed_over(source: Source, cell: Cell, query: Query, matrix: Matrix) -> str:
    """Why a source that goes before the chosen one was not taken."""
    name, own = NAMES[source], [build for build in matrix.of(cell.torch) if build.source == source]
    release = matrix.release(cell.torch)
    if release and source in release.unrecorded:
        return f"what {name} has of it is not in our tables yet"
    if not own:
        last = _last(source, matrix)
        ended = versions.key(cell.torch) > versions.key(last)
        return f"{name} ended with {last}" if ended else f"{name} never built it"
    here = [build for build in own if build.platform in query.platforms]
    same = [build for build in here if build.cuda == cell.cuda]
    if here and not same:
        return f"{name} has it for {_accelerators(here)}"
    if {build.platform for build in same}.issuperset(query.platforms):
        return f"what {name} has does not fit this Python or machine"
    return f"{name} lacks one of the platforms"


def _accelerated(query: Query) -> str:
    cuda = query.cudas[0]
    return f"with {accelerator_name(cuda)}" if cuda else "for CPU"


def _last(source: Source, matrix: Matrix) -> str:
    """The newest torch that a source carries."""
    return max((item.torch for item in matrix.builds if item.source == source), key=versions.key)


def _no_release(text: str, matrix: Matrix) -> str:
    number = versions.key(plain_torch(text))
    oldest, newest = matrix.releases[0].torch, matrix.releases[-1].torch
    same = [row.torch for row in matrix.releases if versions.key(row.torch)[:2] == number[:2]]
    if same:
        return f"the releases are {versions.spell(same)}"
    if number > versions.key(newest):
        return f"the newest release we know is {newest}"
    if number < versions.key(oldest):
        return f"the oldest release we know is {oldest}"
    return "there is no such release"


def _no_source(query: Query, builds: Sequence[Build], matrix: Matrix) -> str:
    """An explicit source does not carry it; `builds` are those of the other sources."""
    source, newest = query.sources[0], query.torches[0]
    elsewhere = versions.spell(_unique(NAMES[build.source] for build in builds))
    last = _last(source, matrix)
    release = matrix.release(newest)
    if release and source in release.unrecorded:
        return f"what {NAMES[source]} has of torch {newest} is not in our tables yet"
    if versions.key(newest) > versions.key(last):
        return f"{NAMES[source]} ended with torch {last}; {elsewhere} have it"
    there = [
        build for torch in query.torches for build in matrix.of(torch) if build.source == source
    ]
    if not there:
        return f"{NAMES[source]} never built this torch; {elsewhere} have it"
    return f"{NAMES[source]} has it for {_accelerators(there)} only"


def _accelerators(builds: Sequence[Build]) -> str:
    numbers = [str(cuda) for cuda in cudas_of(builds)]
    cpu = any(build.cuda is None for build in builds)
    cuda = f"CUDA {versions.spell(numbers)}" if numbers else ""
    return f"{cuda}, and for CPU" if cuda and cpu else cuda or "CPU"


def _unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
