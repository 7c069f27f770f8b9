"""A solver and a resolver that move what was asked for, and of all else as little as can be.

Both stand before another one and ask it several times. What was asked for becomes as new as its
range lets it; then everything else is held at its old version but for the fewest packages that
this cannot be done without (`fewest`). Engines prefer an old lock, too, but choose one package
after the other, and give up more of it than they have to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from envforge.errors import LockError
from envforge.model.lock import LockedPackage
from envforge.model.solving import CondaConflict, CondaProblem, CondaSolution, WheelProblem
from envforge.model.spec import Constraint
from envforge.ports import CondaSolver, WheelResolver
from envforge.solve.fewest import Names, fewest

_Question = TypeVar("_Question", CondaProblem, WheelProblem)
_Answer = TypeVar("_Answer")
_Asking = Generator[_Question, _Answer, _Answer]
CONDA_QUESTIONS: Final = 48
"""For one platform. A solve takes a few tenths of a second, and most searches need three; another
torch needs thirty, and moves up to half as much for it (as tried on real metadata)."""
WHEEL_QUESTIONS: Final = 16
"""A resolution starts a program and may wait for an index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastMoves:
    """A `ports.CondaSolver` that keeps to an old lock; what a question prefers gives way to it."""

    solver: CondaSolver
    old: Sequence[LockedPackage]
    asked: Collection[str]
    """Names of the packages that are to move."""
    still: bool = False
    """Nothing else moves at all."""

    def solve(self, problems: Sequence[CondaProblem]) -> tuple[CondaSolution | CondaConflict, ...]:
        """See `ports.CondaSolver.solve`; all platforms are asked for together."""
        searches = [
            _Search(
                kind=_CONDA,
                problem=problem,
                old=_old(self.old, "conda", problem.platform),
                asked=self.asked,
            ).run(CONDA_QUESTIONS, still=self.still)
            for problem in problems
        ]
        return _side_by_side(searches, self.solver.solve)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastWheelMoves:
    """A `ports.WheelResolver` that keeps to the wheels of an old lock."""

    resolver: WheelResolver
    old: Sequence[LockedPackage]
    asked: Collection[str]
    still: bool = False

    def resolve(self, problem: WheelProblem) -> tuple[LockedPackage, ...]:
        """See `ports.WheelResolver.resolve`."""
        search = _Search(
            kind=_WHEELS,
            problem=problem,
            old=_old(self.old, "pip", problem.platform),
            asked=self.asked,
        ).run(WHEEL_QUESTIONS, still=self.still)
        [answer] = _side_by_side([search], self._answers)
        if isinstance(answer, LockError):
            raise answer
        found: tuple[LockedPackage, ...] = answer
        return found

    def _answers(
        self, problems: Sequence[WheelProblem]
    ) -> tuple[tuple[LockedPackage, ...] | LockError, ...]:
        return tuple(map(self._answer, problems))

    def _answer(self, problem: WheelProblem) -> tuple[LockedPackage, ...] | LockError:
        try:
            return self.resolver.resolve(problem)
        except LockError as error:
            return error


def _old(
    packages: Iterable[LockedPackage], manager: str, platform: str
) -> dict[str, LockedPackage]:
    return {
        item.name: item for item in packages if (item.manager, item.platform) == (manager, platform)
    }


def _side_by_side(
    searches: Sequence[_Asking[_Question, _Answer]],
    ask: Callable[[Sequence[_Question]], Sequence[_Answer]],
) -> tuple[_Answer, ...]:
    """Carry several searches out; one question of each goes out together."""
    found: dict[int, _Answer] = {}
    waiting: dict[int, _Question] = {number: next(item) for number, item in enumerate(searches)}

    def proceed(number: int, answer: _Answer) -> None:
        try:
            waiting[number] = searches[number].send(answer)
        except StopIteration as done:
            found[number] = done.value
            del waiting[number]

    while waiting:
        numbers = list(waiting)
        for number, answer in zip(numbers, ask(list(waiting.values())), strict=True):
            proceed(number, answer)
    return tuple(found[number] for number in range(len(searches)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind(Generic[_Question]):
    """How questions to one engine are put, and its answers read."""

    packages: Callable[[Any], tuple[LockedPackage, ...] | None]
    """None: there is no solution."""
    limited: Callable[[_Question, Mapping[str, str]], _Question]
    """With further ranges, by name, that hold if the package is there."""
    holding: Callable[[_Question, Sequence[LockedPackage]], _Question]
    """With packages that stay, or go altogether."""
    above: Callable[[str], str]
    """The range of everything newer than a version."""


def _limited_conda(problem: CondaProblem, ranges: Mapping[str, str]) -> CondaProblem:
    further = (
        Constraint(package=name, range=text, reason="", source="") for name, text in ranges.items()
    )
    return replace(problem, constraints=(*problem.constraints, *further))


def _limited_wheels(problem: WheelProblem, ranges: Mapping[str, str]) -> WheelProblem:
    further = (f"{name}{text}" for name, text in ranges.items())
    return replace(problem, constraints=(*problem.constraints, *further))


_CONDA: Final[_Kind[CondaProblem]] = _Kind(
    packages=lambda answer: answer.packages if isinstance(answer, CondaSolution) else None,
    limited=_limited_conda,
    holding=lambda problem, packages: replace(problem, held=tuple(packages)),
    above=lambda version: f">{version}",
)
_WHEELS: Final[_Kind[WheelProblem]] = _Kind(
    packages=lambda answer: None if isinstance(answer, LockError) else answer,
    limited=_limited_wheels,
    holding=lambda problem, packages: _limited_wheels(
        problem, {item.name: f"=={item.version}" for item in packages}
    ),
    # PEP 440 allows no local version (`+cu126`) behind `>`.
    above=lambda version: f">{version.partition('+')[0]}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search(Generic[_Question]):
    """One question, put again and again until little enough moves."""

    kind: _Kind[_Question]
    problem: _Question
    old: Mapping[str, LockedPackage]
    asked: Collection[str]

    @property
    def _others(self) -> Names:
        return frozenset(self.old) - frozenset(self.asked)

    def run(self, most: int, *, still: bool) -> _Asking[_Question, Any]:
        """Put questions until the answer stands; a conflict is that of the plain question."""
        plain = replace(
            self.problem, preferred=tuple(self.old[name] for name in sorted(self._others))
        )
        if still:
            answer = yield self._question(plain, {}, frozenset())
            return answer
        answer = yield plain
        if self.kind.packages(answer) is None:
            return answer
        answer, ranges = yield from self._newest(plain, answer)
        return (yield from self._least(plain, answer, ranges, most))

    def _newest(self, plain: _Question, answer: Any) -> Generator[_Question, Any, Any]:
        """What was asked for, as new as can be; an engine may have stopped earlier."""
        ranges: dict[str, str] = {}
        for name in sorted(self.asked):
            while version := self._version(answer, name):
                newer = {**ranges, name: self.kind.above(version)}
                found = yield self.kind.limited(plain, newer)
                if self._version(found, name) in (None, version):
                    ranges[name] = f"=={version}"
                    break
                answer = found
        return answer, ranges

    def _least(
        self, plain: _Question, answer: Any, ranges: Mapping[str, str], most: int
    ) -> Generator[_Question, Any, Any]:
        known = self._moved(answer)
        answers = {known: answer}
        questions = fewest(known, self._others, most=most)
        try:
            free = next(questions)
            while True:
                found = yield self._question(plain, ranges, free)
                moved = None if self.kind.packages(found) is None else self._moved(found)
                if moved is not None and not moved <= free:
                    moved = None  # what the channel has no more cannot be held
                if moved is not None:
                    answers.setdefault(moved, found)
                free = questions.send(moved)
        except StopIteration as done:
            return answers[done.value]

    def _question(self, plain: _Question, ranges: Mapping[str, str], free: Names) -> _Question:
        held = [self.old[name] for name in sorted(self._others - free)]
        return self.kind.holding(self.kind.limited(plain, ranges), held)

    def _moved(self, answer: Any) -> Names:
        """The packages that are there before and after, and not the same."""
        return frozenset(
            item.name
            for item in self.kind.packages(answer) or ()
            if item.name in self._others
            and (item.version, item.build)
            != (self.old[item.name].version, self.old[item.name].build)
        )

    def _version(self, answer: Any, name: str) -> str | None:
        found = (item.version for item in self.kind.packages(answer) or () if item.name == name)
        return next(found, None)
