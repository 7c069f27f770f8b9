"""Results as files."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import reduce
from operator import getitem
from typing import Any

import pytest
from fakes.bench_results import result, series, side
from hypothesis import given, settings
from hypothesis import strategies as st

from envforge.around.bench import bench_file
from envforge.errors import InvalidFile
from envforge.model.bench import Cell, Series

LACKING = Series(cell=Cell(case="decoder"), why_not="RuntimeError: no", failed=True)


def test_what_is_written_is_read() -> None:
    """To six digits; and the same result gives the same bytes."""
    whole = result(side("a", series(), LACKING), against=side("b"), notes=("a note",))
    text = bench_file.write(whole)
    read = bench_file.read(text, "f")

    once_more = bench_file.write(read)
    assert bench_file.write(bench_file.read(once_more, "f")) == once_more
    assert bench_file.write(whole) == text
    assert read.side.series[1] == LACKING
    assert read.side.of(Cell(case="encoder")) is not None
    assert read.against is not None
    assert read.notes == ("a note",)
    mine, its = whole.side.series[0], read.side.series[0]
    assert its.rounds[0][0] == pytest.approx(mine.rounds[0][0], rel=1e-5)


def test_without_times_it_is_short() -> None:
    document = bench_file.document(result(), times=False)

    assert "times" not in json.dumps(document)
    assert document["side"]["cells"][0]["spread"]["rounds"] == 5


def test_what_has_no_bound_is_null() -> None:
    """JSON has no infinity."""
    one = series()
    assert one.spread is not None
    spread = replace(one.spread, high=float("inf"))
    document = bench_file.document(result(side("a", replace(one, spread=spread))), times=False)

    assert document["side"]["cells"][0]["spread"]["high"] is None
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"schema": "envforge.bench/1"}', "[" * 100_000]
)
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(InvalidFile, match="no result of"):
        bench_file.read(text, "f")


_CHANGES = st.sampled_from(
    [
        *[("case", "x"), ("mode", 1), ("times", []), ("times", [[]]), ("times", [[[0]]])],
        *[("times", [[["a"]]]), ("times", None), ("waits", None), ("waits", "none"), ("rates", 1)],
    ]
)


@settings(max_examples=20, deadline=None)
@given(_CHANGES)
def test_a_damaged_cell_is_refused(change: tuple[str, Any]) -> None:
    """A time that nothing was waited for is none in a file either."""
    whole = json.loads(bench_file.write(result()))
    whole["side"]["cells"][0][change[0]] = change[1]

    with pytest.raises(InvalidFile):
        bench_file.read(json.dumps(whole), "f")


_ENDLESS = ["1e999", "NaN", "1" * 400, "1e308", "5e-324", "-1"]


@pytest.mark.parametrize(
    ("place", "number"),
    [
        *((("cells", 0, "times", 0, 0, 0), number) for number in _ENDLESS),
        *((("cells", 0, "first"), number) for number in _ENDLESS[:3]),
        *((("facts", "load"), number) for number in _ENDLESS[:2]),
        *((("starts", 0, "import"), number) for number in _ENDLESS[:3]),
    ],
)
def test_a_number_that_none_measures_is_refused(place: tuple[Any, ...], number: str) -> None:
    """Neither a bug of ours nor `NaN` in a page comes of a stranger's file."""
    whole = json.loads(bench_file.write(result()))
    *way, last = place
    reduce(getitem, way, whole["side"])[last] = "HERE"
    with pytest.raises(InvalidFile):
        bench_file.read(json.dumps(whole).replace('"HERE"', number), "f")


@pytest.mark.parametrize("number", [*_ENDLESS[:4], "0", "-1"])
def test_a_threshold_that_none_gives_is_refused(number: str) -> None:
    whole = {**json.loads(bench_file.write(result())), "threshold": "HERE"}
    with pytest.raises(InvalidFile):
        bench_file.read(json.dumps(whole).replace('"HERE"', number), "f")


def test_an_endless_count_is_refused() -> None:
    whole = json.loads(bench_file.write(result()))
    whole["options"]["batch"] = float("inf")
    with pytest.raises(InvalidFile):
        bench_file.read(json.dumps(whole), "f")


def test_turns_that_do_not_pair_are_refused() -> None:
    """What was measured in turns has a neighbour for each block."""
    whole = json.loads(bench_file.write(result(side("a"), against=side("b"))))
    whole["against"]["cells"][0]["times"].pop()

    with pytest.raises(InvalidFile):
        bench_file.read(json.dumps(whole), "f")


@settings(max_examples=20, deadline=None)
@given(st.text(), st.text())
def test_names_are_anybodys(name: str, fact: str) -> None:
    whole = result(side(name, facts={"processor": fact}))
    try:
        text = bench_file.write(whole)
        text.encode()
    except UnicodeEncodeError:  # lone surrogates: no file holds them
        return
    read = bench_file.read(text, "f")

    assert (read.side.name, read.side.facts["processor"]) == (name, fact)
