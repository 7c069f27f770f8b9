"""The clocks of the program that times: no time without waiting."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from envforge.around.bench import bench_program


class Device:
    """A GPU that takes a millisecond for a call, and returns from it at once."""

    def __init__(self) -> None:
        self.queue: list[float] = []
        self.at = 0.0
        device = self

        class Event:
            def __init__(self, *, enable_timing: bool = False) -> None:
                assert enable_timing
                self.seconds: float | None = None

            def record(self) -> None:
                device.queue.append(0.0)
                device.waiting.append(self)

            def elapsed_time(self, other: Event) -> float:
                if self.seconds is None or other.seconds is None:
                    raise RuntimeError("the event has not been reached")
                return 1000 * (other.seconds - self.seconds)

        self.waiting: list[Any] = []
        self.current = "cuda:0"
        """The device in whose stream events are recorded."""
        cuda = SimpleNamespace(
            Event=Event, synchronize=lambda device: self.end_all(), set_device=self.become
        )
        self.torch = SimpleNamespace(cuda=cuda)

    def become(self, device: str) -> None:
        self.current = device

    def call(self) -> object:
        self.queue.append(0.001)
        return SimpleNamespace()

    def end_all(self) -> None:
        events = iter(self.waiting)
        for seconds in self.queue:
            self.at += seconds
            if seconds == 0.0:
                next(events).seconds = self.at
        time.sleep(sum(self.queue))
        self.queue, self.waiting = [], []


def test_a_call_that_returns_at_once_is_waited_for() -> None:
    """By events for each, and by the clock for many in a row."""
    device = Device()
    clock = bench_program.OnGpu(device.torch, "cuda:0")

    assert clock.each(device.call, 5) == pytest.approx([0.001] * 5)
    assert clock.together(device.call, 20) >= 0.02


def test_what_was_queued_before_is_not_counted() -> None:
    device = Device()
    clock = bench_program.OnGpu(device.torch, "cuda:0")
    for _ in range(100):
        device.call()

    assert clock.each(device.call, 1) == pytest.approx([0.001])


def test_events_are_recorded_where_the_work_is() -> None:
    """Without it those of a second GPU would lie in the first one's stream, and time nothing."""
    device = Device()
    bench_program.OnGpu(device.torch, "cuda:1")

    assert device.current == "cuda:1"


def test_on_the_cpu_a_number_of_each_result_is_read() -> None:
    """A result that is computed when it is looked at is computed within the time."""
    read = []

    class Lazy:
        def dim(self) -> int:
            return 2

        def __getitem__(self, place: tuple[int, ...]) -> Lazy:
            assert place == (0, 0)
            return self

        def item(self) -> float:
            time.sleep(0.002)
            read.append(1)
            return 1.0

    clock = bench_program.OnCpu(None, "cpu")
    times = clock.each(Lazy, 3)

    assert len(read) == 3
    assert min(times) >= 0.002
    assert clock.together(Lazy, 3) >= 0.002
    assert len(read) == 4


def test_nothing_else_times_a_block() -> None:
    """Besides the two clocks only the first call, and how long to warm up, look at the time."""
    tree = ast.parse(inspect.getsource(bench_program))
    users = {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        and any(
            isinstance(node, ast.Attribute) and node.attr in {"perf_counter", "monotonic_ns"}
            for node in ast.walk(function)
        )
    }

    assert users == {"each", "together", "do_prepare", "warmed", "skip", "end"}
    prepare = inspect.getsource(bench_program.Session.do_prepare)
    steps = ("self.clock.wait()", "begun = ", "self.clock.wait(result)", "first = ")
    places = [prepare.index(step) for step in steps]
    assert places == sorted(places)


def test_it_is_read_by_old_interpreters() -> None:
    """Its grammar is that of Python 3.8."""
    ast.parse(inspect.getsource(bench_program), feature_version=(3, 8))


def test_a_failure_is_an_answer() -> None:
    """And the interpreter goes on; what libraries print goes elsewhere."""
    requests = [{"do": "prepare", "case": "matmul", "mode": "eager"}, {"do": "nap"}]
    done = subprocess.run(
        [sys.executable, "-I", bench_program.__file__, "--device", "cpu"],
        input="".join(f"{json.dumps(item)}\n" for item in requests),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, second = map(json.loads, done.stdout.splitlines())

    assert first["error"]["type"] == "AttributeError"
    assert "do_nap" in second["error"]["message"]


def test_one_that_hangs_ends_itself() -> None:
    """Whatever it hangs in: a thread of C sees to it."""
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import bench_program as b, time\n"
        "b.Session.do_hang = lambda self, request: time.sleep(60)\n"
        "b.main(['--timeout', '0.2'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(bench_program.__file__).parent)],
        input='{"do": "hang"}\n',
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "Timeout" in done.stderr
