"""One lock among processes: in order, and free again however its holder goes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from envforge.adapters.locking import hold

HOLDER = """
import sys, time
from pathlib import Path
from envforge.adapters.locking import hold
with hold(Path(sys.argv[1]), waiting=lambda message: None):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
WORKER = """
import sys
from pathlib import Path
from envforge.adapters.locking import hold
from envforge.adapters.process import converse
work = "import time; print('working', flush=True); time.sleep(0.6)"
with hold(Path(sys.argv[1]), waiting=lambda message: None):
    with converse([sys.executable, "-c", work], env={}) as child:
        for line in child.lines():
            print(line, end="", flush=True)
"""
COUNTER = """
import sys
from pathlib import Path
from envforge.adapters.locking import hold
counter = Path(sys.argv[2])
for _ in range(20):
    with hold(Path(sys.argv[1]), waiting=lambda message: None):
        number = int(counter.read_text())
        counter.write_text(str(number + 1))
"""


def start_holder(path: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_holder_that_is_killed_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with start_holder(path, 60) as process:
        told: list[str] = []

        def kill(message: str) -> None:
            told.append(message)
            process.kill()

        began = time.monotonic()
        with hold(path, waiting=kill):
            assert time.monotonic() - began < 10
        assert f"process {process.pid} on" in told[0]


def test_who_waits_gets_it_when_the_holder_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    told: list[str] = []
    with start_holder(path, 0.3), hold(path, waiting=told.append):
        assert len(told) == 1


def test_a_program_that_does_the_work_holds_on_for_its_killed_caller(tmp_path: Path) -> None:
    """The caller is gone, what it started still writes: the next one waits for that, too."""
    path = tmp_path / "a.lock"
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        began = time.monotonic()
        process.kill()
        with hold(path, waiting=lambda _: None):
            assert time.monotonic() - began > 0.3


def test_nobody_comes_between(tmp_path: Path) -> None:
    """Three processes count in one file, and not one step is lost."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    command = [sys.executable, "-c", COUNTER, str(tmp_path / "a.lock"), str(counter)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert counter.read_text() == "60"


def test_a_child_of_the_holder_does_not_hold_on(tmp_path: Path) -> None:
    """A process left behind to compile must not keep others waiting."""
    path = tmp_path / "a.lock"
    with hold(path, waiting=pytest.fail):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with hold(path, waiting=pytest.fail):
        pass
    child.communicate(b"\n")
