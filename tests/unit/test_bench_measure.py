"""How the benchmarks measure and judge."""

from __future__ import annotations

import os
import sys

import pytest
from bench._measure import CommandFailed, Report, Row, Run, alternate, difference, ratio, run


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((1.0, 1.2, 1.1, 1.4), "reached"),
        ((1.6, 1.7, 1.6, 1.4), "missed"),  # three of four are beyond
        ((1.6, 1.7, 1.4, 1.45), "in the noise"),
    ],
)
def test_a_goal_is_missed_by_more_than_noise(values: tuple[float, ...], verdict: str) -> None:
    assert Row("x", values, 1.5).verdict == verdict


def test_a_floor_is_judged_the_other_way_round() -> None:
    assert Row("x", (20.0, 30.0, 9.0), 10, at_least=True).verdict == "reached"
    assert Row("x", (2.0, 3.0, 1.0), 10, at_least=True).verdict == "missed"
    assert Row("x", (2.0,), None).verdict == "-"


def test_the_exit_status_follows_goals_and_claims(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = Row("fast", (1.0,), 1.5), Row("slow", (2.0,), 1.5)
    assert Report("r", rows=[good]).finish() == 0
    assert Report("r", rows=[good, bad]).finish() == 1
    wrong = Report("r", rows=[good])
    wrong.claim("nothing heavy", [], "rich")
    wrong.skip("conda-lock", "not installed")
    assert wrong.finish() == 1
    shown = capsys.readouterr().out
    assert "missed" in shown
    assert "DOES NOT HOLD rich" in shown
    assert "skipped: not installed" in shown


def test_peak_memory_is_that_of_the_command_alone() -> None:
    """A starter of 100 MB must not show in what it starts: Linux would count it."""
    ballast = bytearray(os.urandom(1)) * 100_000_000
    small = run([sys.executable, "-I", "-S", "-c", "print('hello')"], os.environ)
    large = run([sys.executable, "-I", "-S", "-c", "x = bytearray(b'1') * 60_000_000"], os.environ)
    assert len(ballast) == 100_000_000
    assert small.output == "hello\n"
    assert small.peak_mib < 40
    assert 55 < large.peak_mib < 95
    assert small.seconds > 0


def test_a_command_that_fails_is_not_measured() -> None:
    with pytest.raises(CommandFailed, match=r"status 3\s+no luck"):
        run([sys.executable, "-c", "import sys; print('no luck'); sys.exit(3)"], os.environ)


def test_commands_take_turns() -> None:
    """The warm-up is not counted, and who begins changes."""
    order: list[str] = []

    def action(name: str, seconds: float) -> Run:
        order.append(name)
        return Run(seconds, 10, "", "")

    a, b = alternate(lambda: action("a", 3), lambda: action("b", 2), 2)
    assert order == ["a", "b", "a", "b", "b", "a"]
    assert ratio("", a, b, None).values == (1.5, 1.5)
    assert difference("", a, b, None).values == (1, 1)
