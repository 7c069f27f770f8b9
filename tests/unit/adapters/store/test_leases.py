"""Leases live as long as their holders."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from fakes.model_store import StoreWorld

from envforge.adapters.store import holders, leases
from envforge.adapters.store.leases import lease, leased
from envforge.errors import InvalidFile


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return StoreWorld(tmp_path).store.root


def held_by(store: Path, holder: str, *hashes: str, age: float = 0.0) -> Path:
    path = store / "leases" / "other-1-aa.json"
    path.write_text(json.dumps({"holder": holder, "hashes": hashes}))
    moment = time.time() - age
    os.utime(path, (moment, moment))
    return path


def test_a_lease_holds_until_its_block_ends(store: Path) -> None:
    with lease(store, ["a", "b"], purpose="prefill") as path:
        assert leased(store) == {"a", "b"}
        assert path.name.startswith("prefill-")
    assert leased(store) == frozenset()
    assert not path.exists()


def test_several_add_up(store: Path) -> None:
    with lease(store, ["a"], purpose="prefill"), lease(store, ["b"], purpose="view"):
        assert leased(store) == {"a", "b"}


def test_it_ends_with_an_error_too(store: Path) -> None:
    with pytest.raises(RuntimeError), lease(store, ["a"], purpose="x"):
        raise RuntimeError
    assert leased(store) == frozenset()


def test_a_process_that_ended_holds_nothing(store: Path) -> None:
    words = holders.me().split("-")
    path = held_by(store, "-".join([words[0], words[1], "1", words[3]]), "a")  # its number, reused
    assert leased(store) == frozenset()
    assert not path.exists()


def test_a_process_that_sleeps_long_holds_on(store: Path) -> None:
    held_by(store, holders.me(), "a", age=100_000)
    assert leased(store) == {"a"}


def test_another_machine_is_believed_while_it_gives_signs_of_life(store: Path) -> None:
    elsewhere = "f" * 16 + "-1-1-aa"
    path = held_by(store, elsewhere, "a", age=leases.DEAD_AFTER - 60)
    assert leased(store) == {"a"}
    held_by(store, elsewhere, "a", age=leases.DEAD_AFTER + 60)
    assert leased(store) == frozenset()
    assert not path.exists()


def test_it_gives_signs_of_life(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.01)
    with lease(store, ["a"], purpose="x") as path:
        os.utime(path, (0, 0))
        until = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


def test_who_may_only_read_leaves_the_dead_to_the_owner(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_by(store, "f" * 16 + "-1-1-aa", "a", age=10_000)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert leased(store) == frozenset()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"holder": "x"}', '{"holder": "x", "hashes": 1}']
)
def test_one_that_cannot_be_read_is_an_error(store: Path, text: str) -> None:
    """Taken for none, it would let a collection remove what somebody is about to link."""
    (store / "leases" / "x.json").write_text(text)
    with pytest.raises(InvalidFile, match="no lease"):
        leased(store)


def test_a_clock_that_is_ahead_of_the_servers_kills_nobody(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, real = 2 * leases.DEAD_AFTER, time.time
    path = held_by(store, "f" * 16 + "-1-1-aa", "a")
    monkeypatch.setattr(leases.time, "time", lambda: real() + ahead)

    assert leased(store, ahead=-ahead) == {"a"}
    assert leased(store, tidy=False) == frozenset()
    assert path.exists()
    assert leased(store) == frozenset()
    assert not path.exists()


def test_a_server_that_is_away_for_a_moment_does_not_end_it(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.01)
    real, failures = os.utime, [OSError(5, "Input/output error"), OSError(116, "Stale file handle")]

    def fail_twice(*args: object, **given: object) -> None:
        if failures:
            raise failures.pop()
        real(*args, **given)  # type: ignore[arg-type]

    with lease(store, ["a"], purpose="x") as path:
        real(path, (0, 0))
        monkeypatch.setattr(leases.os, "utime", fail_twice)
        until = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0
    assert failures == []
