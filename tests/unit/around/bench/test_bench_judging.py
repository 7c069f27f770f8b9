"""Comparisons, and what a reader should know of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.bench_interpreter import FACTS
from fakes.bench_results import result, series, side

from envforge.around.bench.bench_judging import judged, refuse_other_machine
from envforge.errors import InvalidValue
from envforge.model.bench import BenchOptions, Cell, Series


def test_cells_of_both_sides_are_compared() -> None:
    lacking = Series(cell=Cell(case="convnet"), why_not="no")
    found = judged(
        result(
            side("a", series(seconds=0.12), series("convnet"), series("matmul")),
            against=side("b", series(seconds=0.1), lacking),
        )
    )

    assert [(item.cell.case, item.verdict) for item in found.comparisons] == [("encoder", "slower")]
    assert found.comparisons[0].paired
    assert found.passed, "which of two is faster is a question, and no test"


def test_slower_than_the_baseline_is_a_failure() -> None:
    now = side("a", series(seconds=0.12))
    found = judged(result(now, baseline=side("a", series(seconds=0.1))))

    assert [item.verdict for item in found.comparisons] == ["slower"]
    assert not found.passed
    assert judged(result(now, baseline=side("a", series(seconds=0.121)))).passed
    assert any("not measured in turns" in note for note in found.notes)


def test_a_failed_case_is_a_failure() -> None:
    failed = Series(cell=Cell(case="convnet"), why_not="it ended", failed=True)

    assert not judged(result(side("a", failed))).passed
    assert not judged(result(against=side("b", failed))).passed
    assert judged(result(side("a", replace(failed, failed=False)))).passed


def test_notes_name_what_disturbs() -> None:
    busy = side("a", facts={"load": 7.5})
    [note] = judged(result(busy)).notes

    assert "load 7.5 on 8 cores" in note
    assert judged(result(side("a"))).notes == ()


def test_other_results_are_noted() -> None:
    """A model that computes something else may well be quicker."""
    wrong = series(mode="compiled", result=2.0)
    [inside] = judged(result(side("a", series(), wrong))).notes
    [between] = judged(result(side("a"), against=side("b", series(result=3.0)))).notes

    assert inside == "a: encoder computes something else when compiled"
    assert between == "encoder: the two sides compute different things"


def test_what_moved_since_the_baseline_is_noted() -> None:
    then = side("a", facts={"torch": "2.6.0"})
    [moved, _] = judged(result(side("a"), baseline=then)).notes

    assert moved == "since the baseline torch 2.6.0 became 2.7.1"


def test_a_baseline_of_another_machine_is_refused() -> None:
    then = result(side("a", facts={"processor": "another", "load": 9}))
    options = BenchOptions(batch=4)

    with pytest.raises(InvalidValue) as caught:
        refuse_other_machine(options, FACTS, then, "f.json")
    assert "processor another then, a processor now" in str(caught.value)
    assert "batch 1 then, 4 now" in str(caught.value)
    refuse_other_machine(BenchOptions(), FACTS, result(side("a", facts={"torch": "1"})), "f")
