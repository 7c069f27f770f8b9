"""One process fetches a file; the others wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from envforge.adapters.store import holders
from envforge.adapters.store.arriving import claims
from envforge.adapters.store.arriving.claims import Claims
from envforge.errors import FileNotUsable

KEY = "a" * 64
ELSEWHERE = "0123456789abcdef-7-7-00000000"


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Claims]:
    with Claims(tmp_path, beat=0.02, silent=0.1) as ours:
        yield ours


@pytest.fixture(scope="module")
def dead() -> str:
    """Who was a process of this machine."""
    code = "from envforge.adapters.store import holders; print(holders.me())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def path_of(folder: Path) -> Path:
    return folder / f"{KEY}.claim"


def test_only_one_has_it(ours: Claims, tmp_path: Path) -> None:
    first = ours.take(KEY)

    assert first is not None
    assert ours.take(KEY) is None
    assert str(path_of(tmp_path).readlink()) == first.holder
    ours.release(first)
    assert ours.take(KEY) is not None


def test_of_many_threads_one_has_it(tmp_path: Path, dead: str) -> None:
    """Also where all find the claim of a dead process at once."""
    path_of(tmp_path).symlink_to(dead)
    start, taken = threading.Barrier(16), []

    def take() -> None:
        with Claims(tmp_path) as mine:
            start.wait()
            taken.append(mine.take(KEY))
            start.wait()

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(claim is not None for claim in taken) == 1
    assert list(tmp_path.iterdir()) == []


def test_who_ends_without_releasing_leaves_nothing(tmp_path: Path) -> None:
    with Claims(tmp_path) as ours:
        ours.take(KEY)

    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_loses_it_at_once(ours: Claims, tmp_path: Path, dead: str) -> None:
    path_of(tmp_path).symlink_to(dead)

    assert ours.take(KEY) is not None


def test_another_machine_keeps_it_while_it_shows_life(ours: Claims, tmp_path: Path) -> None:
    path_of(tmp_path).symlink_to(ELSEWHERE)
    theirs = claims.Claim(path_of(tmp_path), ELSEWHERE)

    for _ in range(4):
        assert ours.take(KEY) is None
        time.sleep(0.04)
        theirs.beat()

    time.sleep(0.05)
    assert ours.take(KEY) is None
    time.sleep(0.12)
    assert ours.take(KEY) is not None


def test_who_was_taken_for_dead_notices(ours: Claims, tmp_path: Path) -> None:
    claim = ours.take(KEY)
    assert claim is not None
    path_of(tmp_path).unlink()
    path_of(tmp_path).symlink_to(ELSEWHERE)

    end = time.monotonic() + 5
    while not claim.is_lost and time.monotonic() < end:
        time.sleep(0.01)

    assert claim.is_lost
    ours.release(claim)
    assert str(path_of(tmp_path).readlink()) == ELSEWHERE


def test_a_claim_that_was_taken_over_meanwhile_stays(tmp_path: Path, dead: str) -> None:
    """Two find a dead claim; when the slower one would take it, it is the quicker one's already."""
    path_of(tmp_path).symlink_to(ELSEWHERE)

    assert not claims._replace(path_of(tmp_path), dead, holders.me())

    assert str(path_of(tmp_path).readlink()) == ELSEWHERE
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("who", ["dead", "old", "at work"])
def test_a_take_over_that_was_killed_half_way(
    ours: Claims, tmp_path: Path, dead: str, who: str
) -> None:
    path_of(tmp_path).symlink_to(dead)
    turn = tmp_path / f"{KEY}.claim.{dead}"
    turn.symlink_to({"dead": dead, "old": ELSEWHERE, "at work": holders.me()}[who])
    if who == "old":
        os.utime(turn, (0, 0), follow_symlinks=False)

    assert ours.take(KEY) is None
    assert (ours.take(KEY) is not None) == (who != "at work")


def test_a_claim_that_goes_while_we_look(ours: Claims, tmp_path: Path) -> None:
    assert not ours._is_left(path_of(tmp_path), ELSEWHERE)


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    with Claims(tmp_path / "missing") as ours, pytest.raises(FileNotUsable):
        ours.take(KEY)
