"""Results of `bench` as rows with bars."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.overviews import BERT, bench_result

from envforge.around.bench.bench_statistics import spread_of
from envforge.around.page import bench_rows

ROWS = bench_rows.rows([bench_result()])


def test_a_row_for_each_side_and_cell() -> None:
    assert len(ROWS) == 8
    assert [row.case for row in ROWS[:4]] == [
        "encoder",
        "encoder, compiled",
        "convnet",
        "decoder, compiled",
    ]
    assert {row.name for row in ROWS[4:]} == {BERT}


def test_a_verdict_says_how_much_and_beside_what() -> None:
    slower, _, same, lacking = (row.verdict for row in ROWS[:4])
    assert (slower.text, slower.tone, slower.why) == ("22% slower", "warn", f"than {BERT}")
    assert (same.text, same.tone) == ("same", "good")
    assert (lacking.text, lacking.why) == ("not measured", "torch 1.13 has no `compile`")
    assert all(row.verdict.text == "" for row in ROWS[4:7])


def test_bars_of_a_case_share_a_scale() -> None:
    encoders = [row for row in ROWS if row.case.startswith("encoder")]
    assert max(row.high for row in encoders) == pytest.approx(100)
    for row in encoders:
        assert 0 <= row.low <= row.middle <= row.high
        assert row.middle / encoders[0].middle == pytest.approx(row.order / encoders[0].order)


def test_one_round_has_no_interval() -> None:
    result = bench_result()
    first = result.side.series[0]
    once = first.rounds[:1]
    alone = replace(
        result,
        side=replace(result.side, series=(replace(first, rounds=once, spread=spread_of(once)),)),
        against=None,
        comparisons=(),
    )
    [row] = bench_rows.rows([alone])
    assert row.spread == "one round: no interval"
    assert row.low == row.middle == row.high == pytest.approx(100)


def test_numbers_of_another_lock_are_marked() -> None:
    result = bench_result()
    locked = replace(result, side=replace(result.side, lock="a"))
    name = result.side.name
    for digest, outdated in (("a", False), ("b", True), (None, False)):
        rows = bench_rows.rows([locked], {name: digest})
        assert {row.is_outdated for row in rows if row.name == name} == {outdated}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.5, "1.5 s"), (0.01234, "12.3 ms"), (0.000004, "4 µs"), (2e-9, "0.002 µs")],
)
def test_times(seconds: float, text: str) -> None:
    assert bench_rows.time(seconds) == text
