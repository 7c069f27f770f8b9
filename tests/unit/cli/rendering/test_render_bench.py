"""What `bench` prints."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import click
import pytest
from fakes.bench_results import result, series, side

from envforge.around.bench.bench_judging import judged
from envforge.cli.rendering import render_bench
from envforge.model.bench import Cell, Series

LONG = "a-project-with-a-name-of-sixty-four-characters-which-is-allowed-torch210-cu129"


def plain(text: str) -> str:
    return click.unstyle(text)


def test_every_line_fits(capsys: pytest.CaptureFixture[str]) -> None:
    """Also with slow calls, long names and failures."""
    cells = (
        series(seconds=123.4),
        series(mode="compiled", seconds=0.000123),
        series("bandwidth", rates=(1.5e13,), unit="B"),
        Series(cell=Cell(case="decoder"), why_not="RuntimeError: " + "x y " * 60, failed=True),
    )
    both = judged(result(side(LONG, *cells), against=side(LONG, *cells), baseline=side(LONG)))
    render_bench.show(both, as_json=False)
    shown = capsys.readouterr().out

    assert [line for line in shown.splitlines() if len(line) > 80] == []
    assert "decoder: failed: RuntimeError: x y" in shown


def test_a_slowdown_is_told_with_its_interval() -> None:
    lines = render_bench.lines(
        judged(result(side("a", series(seconds=0.115)), against=side("b", series(seconds=0.1))))
    )
    [line] = [plain(line) for line in lines if "slower" in line]

    found = re.search(r"encoder +slower +\+(\S+) % .*95 %: \+(\S+) % to \+(\S+) %", line)
    assert found, line
    middle, low, high = map(float, found.groups())
    assert low < middle < high
    assert middle == pytest.approx(15, abs=1)


def test_a_wide_interval_is_explained() -> None:
    calm = series()
    assert calm.spread is not None
    wide = replace(calm, spread=replace(calm.spread, high=20 * calm.spread.median))
    text = plain("\n".join(render_bench.lines(result(side("a", wide)))))

    assert "  x/ 20.0 " in text
    assert "note: x/ 3: the median may be three times as long, or a third" in text
    assert "x/" not in plain("\n".join(render_bench.lines(result(side("a", calm)))))


def test_nothing_that_was_told_moves_the_cursor() -> None:
    """A baseline is a file, and what fails is told by another's Python."""
    odd = "\x1b[2J\x1b]0;x\x07"
    cells = (
        series(rates=(1.0,), unit=odd),
        Series(cell=Cell(case="decoder"), why_not=odd, failed=True),
        Series(cell=Cell(case="convnet"), why_not=odd),
    )
    told = result(side(odd, *cells, facts={"torch": odd, "gpu": odd}), against=side(odd))
    text = "\n".join(render_bench.lines(replace(told, notes=(odd,))))

    assert "\x1b[31mfailed\x1b[0m" in text
    assert set(plain(text)) & {"\x1b", "\x07"} == set()
    assert text.count("\\x1b[2J") == 8


def test_facts_stand_beside_the_numbers() -> None:
    text = plain("\n".join(render_bench.lines(result(side("a", facts={"tf32": False})))))

    for words in ("torch 2.7.1", "python 3.11.7", "a processor", "8 threads of 8 cores"):
        assert words in text
    assert "waits by barrier" in text
    assert "lock abababababab" in text
    assert re.search(r"import 1\.2 s", text)


def test_one_thread_is_one() -> None:
    facts = {"threads": 1, "cpus": 2}
    text = plain("\n".join(render_bench.lines(result(side("a", facts=facts)))))

    assert "1 thread of 2 cores" in " ".join(text.split())


def test_names_move_no_cursor() -> None:
    text = "\n".join(render_bench.lines(result(side("a\x1b[2J\nb", facts={"gpu": "\x07"}))))

    assert "\x1b[2J" not in text
    assert "\x07" not in text


def test_json_names_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    render_bench.show(judged(result(against=side("b"))), as_json=True)
    document = json.loads(capsys.readouterr().out)

    assert document["schema"] == "envforge.bench/1"
    assert document["comparisons"][0]["verdict"] == "same"
    assert document["passed"] is True


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *[(12.34, "12.3 s"), (123.4, "123 s"), (0.0851, "85.1 ms"), (0.9999, "1 s")],
        *[(0.000012, "12 us"), (float("inf"), "?"), (0.0, "0 us")],
    ],
)
def test_seconds_for_people(number: float, text: str) -> None:
    assert render_bench.seconds(number) == text
