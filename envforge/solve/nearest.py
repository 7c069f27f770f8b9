"""The nearest requests that do solve, found by trying them.

Trying is cheap (a solve takes a tenth of a second once the channels are read) but not free:
at most `LIMIT` solves and `SECONDS`, whichever ends first, the likeliest change first.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest
from typing import Final, TypeVar

from envforge.errors import EnvforgeError
from envforge.formats.conda import conda_spec
from envforge.matrix import versions
from envforge.matrix.choose import choose
from envforge.matrix.nearest import command_line
from envforge.matrix.tables import Matrix
from envforge.model.choice import Choice
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Machine
from envforge.model.spec import AUTO, HOST, Request

LIMIT: Final = 8
SECONDS: Final = 6.0
_ENOUGH: Final = 3
"""Suggestions; more are no help."""
_T = TypeVar("_T")
Solves = Callable[[Request, Choice], bool]
"""Whether a request, with the choice made for it, can be locked. Writes nothing."""


def find(
    request: Request,
    machine: Machine | None,
    *,
    choice: Choice,
    explanation: str,
    solves: Solves,
    matrix: Matrix,
    spellings: Mapping[str, tuple[str, ...]] | None = None,
    command: str = "create",
    clock: Callable[[], float] = time.monotonic,
) -> tuple[str, ...]:
    """Commands to copy that were tried and do lock, nearest first.

    Args:
        request: what did not solve.
        machine: what it is for.
        choice: the matrix's, for that request.
        explanation: why it did not; packages it names are changed first.
        solves: tries one request.
        matrix: the tables, for other versions that exist.
        spellings: package names that do not exist, and what may have been meant.
        command: `create` or `lock`.
        clock: seconds; replaced in tests.
    """
    trial = _Trial(machine=machine, matrix=matrix, solves=solves, ends=clock() + SECONDS)
    names = spellings or {}
    # With a name wrong nothing else can help, and with all names right little else is needed.
    spelled = (*_spelled(request, names), _without(request, names)) if names else ()
    found = trial.of(spelled, clock, enough=1)
    if not found:
        rest = _candidates(_without(request, names), choice, explanation, matrix)
        found = trial.of(rest, clock)
    return tuple(command_line(item, machine, command) for item in found)


@dataclass(slots=True)
class _Trial:
    """Tries requests until there are enough, or too many, or time is up."""

    machine: Machine | None
    matrix: Matrix
    solves: Solves
    ends: float
    tries: int = 0

    def of(
        self, candidates: Iterable[Request], clock: Callable[[], float], enough: int = _ENOUGH
    ) -> list[Request]:
        found: list[Request] = []
        for candidate in dict.fromkeys(candidates):
            if len(found) == enough or self.tries == LIMIT or clock() > self.ends:
                break
            chosen = _chosen(candidate, self.machine, self.matrix)
            if chosen is None:
                continue
            self.tries += 1
            if self.solves(candidate, chosen):
                found.append(candidate)
        return found


def _chosen(request: Request, machine: Machine | None, matrix: Matrix) -> Choice | None:
    """None where it does not exist, or would not run there: not worth a solve."""
    if request.python == HOST:
        return None
    try:
        return choose(request, machine, matrix=matrix)
    except EnvforgeError:
        return None


def _candidates(
    request: Request, choice: Choice, explanation: str, matrix: Matrix
) -> Iterator[Request]:
    """One change each, kinds in turn."""
    return _in_turn(
        _packages(request, explanation),
        _pythons(request, matrix),
        _cudas(request, choice, matrix),
        _torches(request, choice, matrix),
        _templates(request),
        _sources(request),
    )


def _spelled(request: Request, spellings: Mapping[str, tuple[str, ...]]) -> Iterator[Request]:
    """The first two guesses for every name that nobody has, all names at once."""
    guesses = {name: near for name, near in spellings.items() if near}
    for turn in range(2):
        packages = list(request.packages)
        for at, text in enumerate(packages):
            name = conda_spec.parse(text).name
            near = guesses.get(name, ())
            if near:
                guess = near[min(turn, len(near) - 1)]
                packages[at] = re.sub(re.escape(name), guess, text, count=1, flags=re.IGNORECASE)
        if tuple(packages) != request.packages:
            yield replace(request, packages=tuple(packages))


def _without(request: Request, names: Collection[str]) -> Request:
    kept = tuple(text for text in request.packages if conda_spec.parse(text).name not in names)
    return replace(request, packages=kept)


def _packages(request: Request, explanation: str) -> Iterator[Request]:
    """Each package without its version, then none of it; those the reasons name come first."""
    order = sorted(
        range(len(request.packages)),
        key=lambda at: conda_spec.parse(request.packages[at]).name not in explanation,
    )
    for at in order:
        item = conda_spec.parse(request.packages[at])
        if item.version or item.build or item.channel:
            yield _with_package(request, at, item.name)
    for at in order:
        yield _with_package(request, at, None)


def _with_package(request: Request, at: int, text: str | None) -> Request:
    packages = list(request.packages)
    packages[at : at + 1] = [] if text is None else [text]
    return replace(request, packages=tuple(packages))


def _pythons(request: Request, matrix: Matrix) -> Iterator[Request]:
    """Only where one was asked for: else the others have been tried already."""
    if request.python is None or request.python == HOST:
        return
    asked = versions.key(versions.minor(request.python))
    known = {python for build in matrix.builds for python in build.pythons}
    for python in _outwards(known - {versions.minor(request.python)}, asked, versions.key):
        yield replace(request, python=python)


def _cudas(request: Request, choice: Choice, matrix: Matrix) -> Iterator[Request]:
    cuda = choice.cuda
    if cuda is None:
        return
    others = [item for item in matrix.cudas if item != cuda]
    same = [item for item in others if item.major == cuda.major]
    rest = [item for item in others if item.major != cuda.major]
    for group in (same, rest):
        for item in _outwards(group, (cuda.major, cuda.minor), _numbers):
            yield replace(request, cuda=item)


def _numbers(cuda: CudaVersion) -> tuple[int, ...]:
    return (cuda.major, cuda.minor)


def _torches(request: Request, choice: Choice, matrix: Matrix) -> Iterator[Request]:
    """Other patch releases first, then the neighbours."""
    others = [row.torch for row in matrix.releases if row.torch != choice.torch]
    minor = versions.minor(choice.torch)
    same = [torch for torch in others if versions.minor(torch) == minor]
    rest = [torch for torch in others if versions.minor(torch) != minor]
    for group in (same, rest):
        for torch in _outwards(group, versions.key(choice.torch), versions.key):
            yield replace(request, torch=torch)


def _templates(request: Request) -> Iterator[Request]:
    if request.template is not None:
        yield replace(request, template=None)


def _sources(request: Request) -> Iterator[Request]:
    if request.source != AUTO:
        yield replace(request, source=AUTO)


def _outwards(
    items: Iterable[_T], at: tuple[int, ...], key: Callable[[_T], tuple[int, ...]]
) -> Iterator[_T]:
    """Nearest first, the older before the newer."""
    ordered = sorted(items, key=key)
    below = [item for item in ordered if key(item) < at]
    above = [item for item in ordered if key(item) > at]
    pairs = zip_longest(reversed(below), above)
    return (item for item in chain.from_iterable(pairs) if item is not None)


def _in_turn(*kinds: Iterator[Request]) -> Iterator[Request]:
    """Two of each kind, round after round, so that no kind uses up the tries."""
    remaining = list(kinds)
    while remaining:
        for kind in tuple(remaining):
            some = list(islice(kind, 2))
            yield from some
            if not some:
                remaining.remove(kind)
