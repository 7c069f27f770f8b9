"""What times come to."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envforge.around.bench import bench_statistics as stats
from envforge.model.bench import Cell, Series

TIMES = st.floats(min_value=1e-6, max_value=100, allow_nan=False)
ROUNDS = st.lists(
    st.lists(st.lists(TIMES, min_size=1, max_size=4), min_size=2, max_size=2),
    min_size=2,
    max_size=6,
)


def series(*rounds: float) -> Series:
    return Series(cell=Cell(case="matmul"), rounds=tuple(((item,),) for item in rounds))


@pytest.mark.parametrize(("share", "expected"), [(0, 1), (0.5, 3), (1, 5), (0.95, 4.8)])
def test_percentiles_lie_between_neighbours(share: float, expected: float) -> None:
    assert stats.percentile([1, 2, 3, 4, 5], share) == pytest.approx(expected)


def test_the_spread_of_calls() -> None:
    """Medians are of rounds, tails are of calls."""
    spread = stats.spread_of([[[1.0, 1.0, 9.0]], [[1.0, 1.0, 1.0]]])

    assert spread.median == pytest.approx(1.0)
    assert spread.p99 > spread.p95 > 1.0
    assert spread.std == pytest.approx(statistics.stdev([1, 1, 9, 1, 1, 1]))
    assert (spread.calls, spread.rounds) == (6, 2)


def test_a_single_round_tells_nothing_of_others() -> None:
    spread = stats.spread_of([[[1.0]]])

    assert (spread.low, spread.high) == (0.0, math.inf)
    assert spread.std == 0


def test_one_disturbed_round_is_one() -> None:
    """The outer fifth on each side does not count."""
    assert stats.typical([1, 1, 1, 1, 1000]) == 1
    assert stats.typical([1, 3]) == 2


def test_one_disturbed_block_is_one() -> None:
    calm, disturbed = [[1.0], [1.0], [1.0]], [[1.0], [50.0], [1.0]]

    assert stats.quotients_of([disturbed], [calm]) == [0]


def test_neighbours_are_compared_so_drift_cancels() -> None:
    """The machine became ten times slower in the middle, for both."""
    first, second = [[[1.1], [11.0]]], [[[1.0], [10.0]]]

    assert stats.quotients_of(first, second) == [pytest.approx(math.log(1.1))]


def test_few_values_give_wide_intervals() -> None:
    """Student's t of the tables: 2.776 with 4 degrees of freedom, 2.201 with 11."""
    assert stats._student(4, 0.975) == pytest.approx(2.776, rel=0.01)
    assert stats._student(11, 0.975) == pytest.approx(2.201, rel=0.001)
    assert stats.expanded_tail(5, 0.95) < stats.expanded_tail(50, 0.95) < 0.025


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([0.0, 0.001, -0.001, 0.002, -0.002], "same"),
        ([0.03, 0.031, 0.029, 0.03, 0.03], "same"),
        ([0.1, 0.11, 0.09, 0.1, 0.1], "slower"),
        ([-0.1, -0.11, -0.09, -0.1, -0.1], "faster"),
        ([0.3, -0.3, 0.2, -0.25, 0.1], "noisy"),
        ([0.5, 0.01, 0.9, -0.1, 0.4], "noisy"),
        ([0.2], "noisy"),
    ],
)
def test_verdicts(differences: list[float], expected: str) -> None:
    """Of logarithms of ratios, where 10 % matters."""
    assert stats.verdict((differences,), 0.1) == expected


def test_a_baseline_is_compared_without_pairs() -> None:
    """Rounds of two days have nothing to do with each other, and may be of any number."""
    then = series(1.0, 1.01, 0.99, 1.0, 1.0, 1.01)
    now = series(1.2, 1.21, 1.19, 1.2, 1.2)
    found = stats.compare(now, then, threshold=0.1, paired=False)

    assert found.verdict == "slower"
    assert found.low < found.ratio < found.high
    assert found.ratio == pytest.approx(1.2, rel=0.01)
    assert not found.paired


def test_measuring_ends_by_width_alone() -> None:
    """A difference that is large and certain and one of nothing end it alike."""
    assert stats.is_narrow([0.5, 0.5, 0.5, 0.501, 0.5], 0.1)
    assert stats.is_narrow([0.0, 0.0, 0.0, 0.001, 0.0], 0.1)
    assert not stats.is_narrow([0.0, 0.3, -0.3, 0.2, -0.2], 0.1)
    assert not stats.is_narrow([0.0], 0.1)


@settings(max_examples=20, deadline=None)
@given(ROUNDS, st.floats(min_value=0.01, max_value=100))
def test_nothing_depends_on_the_unit(rounds: list[list[list[float]]], factor: float) -> None:
    """Twice the clock gives twice the times, and the same quotients."""
    scaled = [[[call * factor for call in block] for block in blocks] for blocks in rounds]

    assert stats.quotients_of(rounds, rounds) == [0] * len(rounds)
    assert stats.quotients_of(scaled, rounds) == pytest.approx([math.log(factor)] * len(rounds))
    assert stats.spread_of(scaled).median == pytest.approx(stats.spread_of(rounds).median * factor)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(min_value=-1, max_value=1), min_size=2, max_size=8))
def test_intervals_hold_what_they_are_of(values: list[float]) -> None:
    """And the same values give the same interval."""
    low, high = stats.interval(values)

    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12
    assert (low, high) == stats.interval(values)
