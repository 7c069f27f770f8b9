"""The smallest set of names that has to be given up, found by asking what is still possible.

Given names that one would like to hold all at once, and an oracle that says whether holding some
of them is possible, the fewest to let go are the smallest set that hits every *core*: every set
that cannot be held together. Cores are found one after the other, and a set that hits all known
ones is tried; the first that works is the smallest (implicit hitting sets, as in the MaxHS solver
of Davies and Bacchus). Each core is made small by QuickXplain (Junker, AAAI 2004).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress

Names = frozenset[str]
Questions = Generator[Names, Names | None, Names]
"""Yields names that may be given up, is sent those that were (None: not possible), returns the
smallest set it has found."""
_Asking = Generator[Names, Names | None, Names | None]


def fewest(known: Names, every: Names, *, most: int) -> Questions:
    """Find the fewest of `every` that have to be given up.

    Args:
        known: a set that is enough, found by other means.
        every: all names that one would like to hold.
        most: how many questions may be asked. When they are used up, the smallest set found so
            far is the answer, which need not be the smallest there is.
    """
    search = _Search(known, every, most)
    with suppress(_Spent):
        yield from search.prove()
    return search.best


class _Spent(Exception):
    """No question is left."""


class _Search:
    """What was learnt so far."""

    def __init__(self, known: Names, every: Names, most: int) -> None:
        self.best = known
        self._every = every
        self._left = most
        self._possible: list[Names] = [known]
        self._impossible: list[Names] = []

    def prove(self) -> _Asking:
        """Until nothing smaller than `best` can exist."""
        if not self.best or (yield from self._giving_up(frozenset())) is not None:
            return None
        cores = yield from self._singles()
        if sum(map(len, cores)) < len(self.best):
            yield from self._shrink(frozenset().union(*cores))
        while (trial := _smallest_hit(cores, below=len(self.best))) is not None:
            if (yield from self._giving_up(trial)) is not None:
                return None
            core = yield from self._core(frozenset(), self._every - trial, grown=False)
            cores.append(core)
        return None

    def _giving_up(self, names: Names) -> _Asking:
        """Those that were given up when these might be; None: that is not enough."""
        if any(names <= other for other in self._impossible):
            return None
        for enough in self._possible:
            if enough <= names:
                return enough
        if not self._left:
            raise _Spent
        self._left -= 1
        found = yield names
        if found is None:
            self._impossible.append(names)
            return None
        self._possible.append(found)
        if len(found) < len(self.best):
            self.best = found
        return found

    def _singles(self) -> Generator[Names, Names | None, list[Names]]:
        """The names that cannot be held even alone: each is a core, and most often that is all."""
        cores: list[Names] = []
        for name in sorted(self.best):
            if len(self.best) == 1:  # holding all was not possible, so none is smaller
                return [self.best]
            only = frozenset((name,))
            if (yield from self._giving_up(self._every - only)) is None:
                cores.append(only)
        return cores

    def _shrink(self, needed: Names) -> _Asking:
        """Make `best` a set of which nothing can be left out."""
        for name in sorted(self.best - needed):
            if name in self.best:
                yield from self._giving_up(self.best - {name})
        return None

    def _core(self, held: Names, names: Names, *, grown: bool) -> Questions:
        """The part of `names` that, beside `held`, already cannot be held."""
        if grown and (yield from self._giving_up(self._every - held)) is None:
            return frozenset()
        if len(names) == 1:
            return names
        ordered = sorted(names, key=lambda name: (name not in self.best, name))
        half = len(ordered) // 2
        first, second = frozenset(ordered[:half]), frozenset(ordered[half:])
        later = yield from self._core(held | first, second, grown=True)
        earlier = yield from self._core(held | later, first, grown=bool(later))
        return earlier | later


def _smallest_hit(cores: Sequence[Names], *, below: int) -> Names | None:
    """The smallest set with a member of every core; None: it has `below` members, or more."""
    for size in range(below):
        found = _hit(cores, size)
        if found is not None:
            return found
    return None


def _hit(cores: Sequence[Names], size: int) -> Names | None:
    if not cores:
        return frozenset()
    if not size:
        return None
    for name in min((sorted(core) for core in cores), key=len):
        rest = _hit([core for core in cores if name not in core], size - 1)
        if rest is not None:
            return rest | {name}
    return None
