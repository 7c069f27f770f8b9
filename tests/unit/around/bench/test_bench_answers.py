"""Answers of the bench program, good and bad."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envforge.around.bench import bench_answers
from envforge.around.bench.bench_answers import Declined, Garbled

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(["schema", "stages", "facts", "seconds", "waits", "rate", "first", "error"])


def test_a_time_without_waiting_is_refused() -> None:
    good = {"seconds": [0.1, 0.2], "waits": "cuda-events", "rate": 5.0}

    assert bench_answers.block(good, 2).seconds == (0.1, 0.2)
    for waits in (None, "", "none", 1, ["barrier"]):
        with pytest.raises(Garbled, match="waited"):
            bench_answers.block({**good, "waits": waits}, 2)


@pytest.mark.parametrize("seconds", [[0.1], [0.1, 0], [0.1, -1], [0.1, float("nan")], [0.1, True]])
def test_times_that_are_none(seconds: list[float]) -> None:
    with pytest.raises(Garbled):
        bench_answers.block({"seconds": seconds, "waits": "barrier"}, 2)


def test_what_cannot_be_timed_is_no_failure() -> None:
    assert bench_answers.prepared({"skipped": "no compile"}) == Declined(reason="no compile")


def test_a_failure_is_told_in_a_line() -> None:
    failed = bench_answers.failure_of({"error": {"type": "E", "message": "first\nsecond"}})

    assert failed is not None
    assert failed.reason == "E: first"
    assert bench_answers.failure_of({}) is None


def test_stages_keep_their_order() -> None:
    answer = {
        "schema": "envforge.bench-program/1",
        "stages": {"call": 0.1, "import": 1, "unknown": 2},
        "facts": {"torch": "2.7.1", "cuda": None},
    }

    assert list(bench_answers.started(answer).stages) == ["import", "call"]
    with pytest.raises(Garbled, match="schema"):
        bench_answers.started({**answer, "schema": "envforge.bench-program/2"})


def test_results_are_the_same_but_for_rounding() -> None:
    assert bench_answers.same_results([1.0, 1.01])
    assert not bench_answers.same_results([1.0, 1.1])
    assert bench_answers.same_results([0.0, 0.0])


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, JSON))
def test_anything_else_is_garbled_and_no_crash(answer: dict[str, Any]) -> None:
    for read in (bench_answers.failure_of, bench_answers.started, bench_answers.prepared):
        with contextlib.suppress(Garbled):
            read(answer)
    with contextlib.suppress(Garbled):
        assert bench_answers.block(answer, 1).waits in {"barrier", "cuda-events"}
