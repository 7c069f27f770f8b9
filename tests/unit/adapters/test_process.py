"""Starting programs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from envforge.adapters.process import RealProcesses, become
from envforge.errors import ToolFailed, ToolMissing

RUN = RealProcesses().run


def test_output_and_input() -> None:
    done = RUN(
        [sys.executable, "-c", "import sys; print(sys.stdin.read().upper())"],
        env={},
        timeout=60,
        stdin="text",
    )

    assert (done.status, done.stdout) == (0, "TEXT\n")


def test_no_byte_of_an_answer_is_another() -> None:
    """Values of variables come back this way; a carriage return in one is the user's."""
    told = RUN(["printf", "a\\rb\\r\\n\\0"], env={}, timeout=60)

    assert told.stdout == "a\rb\r\n\0"


def test_a_failure_carries_the_end_of_stderr() -> None:
    with pytest.raises(ToolFailed, match="went wrong") as caught:
        RUN([sys.executable, "-c", "raise SystemExit('went wrong')"], env={}, timeout=60)

    assert caught.value.status == 1


def test_unchecked_failures_come_back() -> None:
    assert RUN([sys.executable, "-c", "exit(3)"], env={}, timeout=60, check=False).status == 3


def test_what_is_no_program_for_this_machine(tmp_path: Path) -> None:
    """Neither as a program of its own, nor in our place."""
    alien = tmp_path / "alien"
    alien.write_bytes(b"MZ\x90\x00")
    with pytest.raises(ToolFailed, match="permission denied"):
        RUN([str(alien)], env={}, timeout=1)
    alien.chmod(0o755)
    with pytest.raises(ToolFailed, match="exec format error"):
        RUN([str(alien)], env={}, timeout=1)
    with pytest.raises(ToolFailed, match="exec format error") as caught:
        become(str(alien), ["alien"], {})
    assert "`#!`" in (caught.value.hint or "")


def test_a_missing_program_and_a_time_out() -> None:
    with pytest.raises(ToolMissing, match="no-such-program"):
        RUN(["no-such-program"], env={"PATH": "/nowhere"}, timeout=1)
    with pytest.raises(ToolFailed, match=r"no answer within 0\.2 s"):
        RUN([sys.executable, "-c", "import time; time.sleep(9)"], env={}, timeout=0.2)
