"""Programs that nobody vouches for, within limits."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from envforge.adapters.process import RealProcesses
from envforge.adapters.untrusted import marked
from envforge.errors import ToolFailed, ToolMissing
from envforge.ports import Completed, Guard

GUARD = Guard(first_sign="here", within=20, last_sign="that is all", most_output=2**20)


def run(text: str, *, timeout: float = 20, guard: Guard = GUARD) -> Completed:
    return RealProcesses().run(
        ["/bin/sh", "-c", text], env=dict(os.environ), timeout=timeout, check=False, guard=guard
    )


def test_both_streams_and_the_status() -> None:
    done = run("echo here; echo on >&2; exit 3")
    assert (done.status, done.stdout, done.stderr) == (3, "here\n", "on\n")


def test_nothing_is_read_from_us() -> None:
    """A program that asks gets the end of the file."""
    assert run("cat; echo here").stdout == "here\n"


def test_what_comes_after_the_last_sign_is_not_waited_for() -> None:
    begun = time.monotonic()
    done = run("echo here; echo that is all; exec sleep 60")
    assert (done.status, done.stdout) == (0, "here\nthat is all\n")
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("echo nothing; exec sleep 60", r"no answer within 0\.3 s"),
        ("echo here; exec sleep 60", r"no answer within 0\.6 s"),
        ("echo here; exec yes", "more than 1 MiB of output"),
        ("echo here; exec yes >&2", "more than 1 MiB of output"),
    ],
)
def test_limits(text: str, why: str) -> None:
    """The first sign has one of its own; standard error counts, and its end is told."""
    guard = Guard(first_sign="here", within=0.3, last_sign="x", most_output=2**20)
    with pytest.raises(ToolFailed, match=why) as caught:
        run(text, timeout=0.6, guard=guard)
    assert ("y\n" in caught.value.output) is (">&2" in text)


def test_a_sign_in_two_halves_is_seen() -> None:
    guard = Guard(first_sign="here", within=0.5, last_sign="x")
    assert run("printf he; sleep 0.2; echo re; sleep 0.6", guard=guard).stdout == "here\n"


def test_what_cannot_be_started(tmp_path: Path) -> None:
    processes = RealProcesses()
    with pytest.raises(ToolMissing):
        processes.run([str(tmp_path / "x")], env={}, timeout=1, guard=GUARD)
    with pytest.raises(ToolFailed, match="permission denied"):
        processes.run([str(tmp_path)], env={}, timeout=1, guard=GUARD)


def test_marks_differ_and_add_nothing_else() -> None:
    one, mark = marked({"A": "1"})
    _, other = marked({})
    assert mark != other
    assert sorted(one) == ["A", mark.partition("=")[0]]


def test_an_interruption_ends_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has a session of its own, which no Ctrl-C reaches."""

    def interrupted(seconds: float) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    text = f"echo $$ > {tmp_path}/pid; exec 1>&- 2>&-; exec sleep 60"
    monkeypatch.setattr("envforge.adapters.untrusted.time.sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(text)
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
