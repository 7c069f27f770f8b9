"""Sides are measured in turns, until it is enough."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes.bench_interpreter import bench_interpreter

from envforge.errors import InvalidValue, ToolFailed, ToolMissing
from envforge.forge.benching.bench import cells_of
from envforge.forge.benching.measuring import START, Effort, Measuring
from envforge.forge.benching.sides import Timed
from envforge.forge.workplace import SilentReporter
from envforge.model.bench import BenchOptions, Cell, Side

MATMUL, COPY = Cell(case="matmul"), Cell(case="bandwidth")
QUICK = Effort(least=2, most=3, blocks=2, timeout=30)


def measure(
    folder: Path, *pythons: Path, cells: Sequence[Cell] = (MATMUL,), **more: Any
) -> tuple[Side, ...]:
    scratch = folder / "scratch"
    scratch.mkdir()
    timed = [
        Timed(name=f"side {index}", interpreter=python, variables={"PATH": "/usr/bin:/bin"})
        for index, python in enumerate(pythons)
    ]
    given: dict[str, Any] = {
        "options": BenchOptions(),
        "effort": QUICK,
        "reporter": SilentReporter(),
        "scratch": scratch,
    }
    return Measuring(timed, cells, **{**given, **more}).run()


def test_two_sides_have_blocks_at_the_same_places(tmp_path: Path) -> None:
    pythons = [bench_interpreter(tmp_path / name, seconds=0.05) for name in "ab"]
    sides = measure(tmp_path, *pythons, cells=(START, MATMUL))

    for side in sides:
        start, matmul = side.series
        assert [len(blocks) for blocks in matmul.rounds] == [2] * len(matmul.rounds)
        assert {len(block) for blocks in matmul.rounds for block in blocks} == {3}
        assert len(matmul.rates) == len(matmul.rounds)
        assert start.rounds[0] == ((pytest.approx(1.42),),)
        assert matmul.spread is not None
        assert matmul.spread.median == pytest.approx(0.05, rel=0.05)
        assert side.facts["torch"] == "2.7.1"
        assert [*side.starts[0]] == ["interpreter", "import", "load", "call"]


def test_it_ends_when_intervals_are_narrow(tmp_path: Path) -> None:
    """And goes on for what is noisy, as long as it may."""
    calm = bench_interpreter(tmp_path / "calm", noise=0.0)
    wild = bench_interpreter(tmp_path / "wild", swings=True)
    [side] = measure(tmp_path, calm)
    assert len(side.series[0].rounds) == 2

    (tmp_path / "scratch").rmdir()
    [side] = measure(tmp_path, wild)
    assert len(side.series[0].rounds) == 3


def test_no_round_but_the_first_begins_when_the_time_is_up(tmp_path: Path) -> None:
    """Who waited for it to compile gets a number, with what can be said of one round."""
    effort = Effort(least=2, most=3, blocks=2, seconds=1e-9)
    [side] = measure(tmp_path, bench_interpreter(tmp_path / "a"), effort=effort)

    assert len(side.series[0].rounds) == 1
    assert not side.series[0].failed


@pytest.mark.parametrize(
    ("how", "words", "failed"),
    [
        ("fails", "RuntimeError: out of memory", True),
        ("lacks", "there is no g++", False),
        ("dies", "it ended: 3: Fatal: it died", True),
        ("garbled", "makes no sense", True),
        ("hasty", "does not say how the device was waited for", True),
    ],
)
def test_a_case_that_goes_wrong_is_told_and_the_others_are_measured(
    tmp_path: Path, how: str, words: str, *, failed: bool
) -> None:
    broken: dict[str, Any] = {how: ["matmul"]}
    python = bench_interpreter(tmp_path / "a", **broken)
    good = bench_interpreter(tmp_path / "b")
    first, second = measure(tmp_path, python, good, cells=(MATMUL, COPY))

    matmul, copy = first.series
    assert words in matmul.why_not
    assert matmul.failed is failed
    assert matmul.rounds == ()
    assert copy.rounds
    assert copy.spread is not None
    assert second.series[1].rounds


def test_an_interpreter_without_torch_is_an_error(tmp_path: Path) -> None:
    python = bench_interpreter(tmp_path / "a", no_torch=True)

    with pytest.raises(ToolFailed, match="ImportError: no torch"):
        measure(tmp_path, python)


def test_one_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing):
        measure(tmp_path, tmp_path / "nowhere")


def test_one_that_may_not_be_run_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "python"
    path.write_text("")

    with pytest.raises(ToolFailed, match="permission denied"):
        measure(tmp_path, path)


def test_facts_are_approved_before_anything_is_timed(tmp_path: Path) -> None:
    def approve(facts: object) -> None:
        raise InvalidValue(what="baseline", value="f", reason="is of another machine")

    with pytest.raises(InvalidValue):
        measure(tmp_path, bench_interpreter(tmp_path / "a"), approve=approve)


def test_cells_are_cases_by_modes() -> None:
    assert cells_of(["encoder"], []) == (
        Cell(case="encoder"),
        Cell(case="encoder", mode="compiled"),
    )
    assert cells_of([], ["eager"])[0] == START
    assert Cell(case="matmul", mode="compiled") not in cells_of([], [])
    with pytest.raises(InvalidValue, match="unknown"):
        cells_of(["matmull"], [])
    with pytest.raises(InvalidValue, match="says nothing of matmul"):
        cells_of(["matmul"], ["compiled"])
