"""Who works on something, and whether they still do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from envforge.adapters.store import holders


def test_we_are_here() -> None:
    assert holders.is_gone(holders.me()) is False
    assert holders.me() != holders.me()


def test_a_process_that_has_ended_is_gone() -> None:
    code = "from envforge.adapters.store import holders; print(holders.me())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert holders.is_gone(done.stdout.strip()) is True


def test_another_process_with_its_number_is_not_it() -> None:
    host, pid, started, nonce = holders.me().split("-")

    assert holders.is_gone("-".join((host, pid, str(int(started) - 1), nonce))) is True


def test_somebody_elses_process_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)

    assert holders.is_gone(holders.me()) is False


@pytest.mark.parametrize("name", ["", "left", "0123456789abcdef-1-1-00", "a-b-c-d"])
def test_of_others_nothing_can_be_told(name: str) -> None:
    assert holders.is_gone(name) is None


def test_a_process_that_is_hidden_may_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """`hidepid` shows nobody's /proc but one's own: that it cannot be read proves nothing."""
    mine = holders.me()
    monkeypatch.setattr(holders, "_started", lambda _pid: "0")

    assert holders.is_gone(mine) is None
