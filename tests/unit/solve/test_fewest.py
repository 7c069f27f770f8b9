"""The fewest names to give up, against trying every set."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.solve.fewest import Names, fewest

LETTERS = "abcdefg"
Cores = list[Names]
some_names = st.frozensets(st.sampled_from(LETTERS), min_size=1, max_size=3)


def hits(cores: Cores, names: Names) -> bool:
    return all(core & names for core in cores)


def smallest(cores: Cores) -> int:
    """By trying every set, the small ones first."""
    return next(
        size
        for size in range(len(LETTERS) + 1)
        if any(hits(cores, frozenset(chosen)) for chosen in combinations(LETTERS, size))
    )


def search(cores: Cores, known: Names, *, most: int = 10_000) -> tuple[Names, list[Names]]:
    """What was found, and what was asked; the oracle gives up no more than it has to."""
    asked: list[Names] = []
    questions = fewest(known, frozenset(LETTERS), most=most)
    answer: Names | None = None
    try:
        names = next(questions)
        while True:
            asked.append(names)
            answer = None
            if hits(cores, names):
                answer = names
                for name in sorted(names):
                    if hits(cores, answer - {name}):
                        answer -= {name}
            names = questions.send(answer)
    except StopIteration as done:
        return done.value, asked


def enough(cores: Cores) -> Names:
    """A set that hits all, and is rarely the smallest."""
    return frozenset(max(core) for core in cores)


@given(st.lists(some_names, max_size=6))
def test_none_is_smaller(cores: Cores) -> None:
    found, asked = search(cores, enough(cores))

    assert hits(cores, found)
    assert len(found) == smallest(cores)
    assert len(asked) == len(set(asked)), "a question was put twice"


@given(st.lists(some_names, max_size=6))
def test_the_whole_is_a_start_too(cores: Cores) -> None:
    found, _ = search(cores, frozenset(LETTERS))

    assert len(found) == smallest(cores)


@given(st.lists(some_names, max_size=6), st.integers(min_value=0, max_value=8))
def test_questions_are_counted(cores: Cores, most: int) -> None:
    """Where they run out, what is found is enough, and no worse than what was known."""
    known = enough(cores)
    found, asked = search(cores, known, most=most)

    assert len(asked) <= most
    assert hits(cores, found)
    assert len(found) <= len(known)


def test_nothing_is_asked_where_nothing_moves() -> None:
    assert search([], frozenset()) == (frozenset(), [])


def test_one_that_must_go_costs_one_question() -> None:
    only = frozenset("c")
    assert search([only], only) == (only, [frozenset()])


@pytest.mark.parametrize("number", range(2, 6))
def test_those_that_must_go_cost_one_question_each(number: int) -> None:
    names = frozenset(LETTERS[:number])
    found, asked = search([frozenset(name) for name in names], names)

    assert found == names
    assert len(asked) == 1 + number


def test_of_two_ways_the_shorter_is_found() -> None:
    """Three go with the first way that was seen, and `g` alone would have done."""
    cores = [frozenset("ag"), frozenset("bg"), frozenset("cg")]
    found, _ = search(cores, frozenset("abc"))

    assert found == frozenset("g")
