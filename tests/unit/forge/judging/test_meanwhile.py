"""Two things at once."""

from __future__ import annotations

import threading

import pytest

from envforge.forge.judging.meanwhile import Meanwhile


def test_it_runs_beside_us() -> None:
    """It has begun before anyone asks for its result."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        assert go_on.wait(5)
        return 7

    running = Meanwhile(work)
    assert begun.wait(5)
    go_on.set()
    assert running.result() == 7
    assert running.result() == 7


def test_what_goes_wrong_is_raised_where_it_is_asked_for() -> None:
    def work() -> None:
        raise KeyError("x")

    running = Meanwhile(work)
    for _ in range(2):
        with pytest.raises(KeyError, match="x"):
            running.result()
