"""`bench --plot`: real pictures by matplotlib."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.bench_results import result, series, side

from envforge.adapters.plot_bench import write_bench
from envforge.around.bench.bench_statistics import spread_of
from envforge.errors import InvalidValue
from envforge.model.bench import BenchResult, Cell, Series

pytest.importorskip("matplotlib")


def both() -> BenchResult:
    cells = (series(), series(mode="compiled", seconds=0.05), series("matmul"), series("decoder"))
    names = "$x^{$ <b>&\x1b\udcff", "b" * 200
    return result(side(names[0], *cells), against=side(names[1], *cells), baseline=side("c"))


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    """Names are anybody's, and no mathematics."""
    for suffix in ("svg", "png"):
        first, second = (tmp_path / f"{name}.{suffix}" for name in "ab")
        write_bench(both(), first)
        write_bench(both(), second)
        assert first.read_bytes() == second.read_bytes()
    ET.parse(tmp_path / "a.svg")  # noqa: S314 - our own file
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_measured_is_drawn_as_nothing(tmp_path: Path) -> None:
    lacking = Series(cell=Cell(case="decoder"), why_not="no")
    write_bench(result(side("a", lacking)), tmp_path / "a.svg")

    assert (tmp_path / "a.svg").stat().st_size > 0


def test_a_single_round_has_no_interval_to_draw(tmp_path: Path) -> None:
    """Its end is infinite, of which matplotlib warns."""
    one = series()
    rounds = one.rounds[:1]
    short = replace(one, rounds=rounds, spread=spread_of(rounds))
    write_bench(result(side("a", short)), tmp_path / "a.svg")

    assert "nan" not in (tmp_path / "a.svg").read_text().lower()


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="suffix"):
        write_bench(both(), tmp_path / "a.pdf")
