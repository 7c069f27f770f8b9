"""Threads that share a pile."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from envforge.adapters.store.dedupe.crew import Crew, Interrupted


def test_each_piece_of_work_is_done_once() -> None:
    crew, done = Crew(), list[int]()
    pile = iter(range(1000))

    def work() -> None:
        done.extend(crew.shared(pile))

    crew.run([work] * 4)

    assert sorted(done) == list(range(1000))


def test_a_failure_stops_the_others_and_is_told() -> None:
    crew = Crew()
    begun = threading.Event()

    def goes_on() -> None:
        begun.set()
        while True:
            crew.check()

    def fails() -> None:
        begun.wait()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        crew.run([goes_on, fails])


def test_ctrl_c_stops_all(monkeypatch: pytest.MonkeyPatch) -> None:
    crew, ended = Crew(), list[int]()

    def goes_on(number: int) -> None:
        try:
            while True:
                crew.check()
        except Interrupted:
            ended.append(number)
            raise

    join, calls = threading.Thread.join, list[int]()

    def interrupted(self: threading.Thread, timeout: float | None = None) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        join(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        crew.run([partial(goes_on, number) for number in range(3)])

    assert sorted(ended) == [0, 1, 2]


def test_nothing_more_is_handed_out_after_a_stop() -> None:
    crew = Crew()
    crew.stop.set()

    assert list(crew.shared(iter([1, 2]))) == []
