from __future__ import annotations

import errno
import fcntl
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from envforge.adapters.locking import hold
from envforge.errors import FileNotUsable


def test_the_holder_is_written_into_the_file_and_taken_out_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.lock"
    with hold(path, waiting=pytest.fail):
        assert path.read_text() == f"process {os.getpid()} on {platform.node()}"
    assert path.read_text() == ""


def test_one_after_the_other_and_the_second_is_told_whom_it_waits_for(tmp_path: Path) -> None:
    path, told, order = tmp_path / "a.lock", [], []
    taken, waiting = threading.Event(), threading.Event()

    def wait(message: str) -> None:
        told.append(message)
        waiting.set()

    def first() -> None:
        with hold(path, waiting=pytest.fail):
            taken.set()
            assert waiting.wait(10)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    assert taken.wait(10)
    with hold(path, waiting=wait):
        order.append("second")
    thread.join()

    assert order == ["first", "second"]
    assert len(told) == 1
    assert f"process {os.getpid()}" in told[0]
    assert str(path) in told[0]


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    """What it leads to would be emptied."""
    (tmp_path / "thesis.tex").write_text("mine")
    (tmp_path / "a.lock").symlink_to("thesis.tex")

    with (
        pytest.raises(FileNotUsable, match="symbolic links"),
        hold(tmp_path / "a.lock", waiting=pytest.fail),
    ):
        pass
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_waiting_can_be_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with (
        hold(path, waiting=pytest.fail),
        pytest.raises(KeyboardInterrupt),
        hold(path, waiting=interrupt),
    ):
        pytest.fail("it was held")


def test_a_file_that_was_removed_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waited for an environment that is removed must not hold the lock of its ghost."""
    path = tmp_path / "a.lock"
    real, calls = fcntl.flock, []

    def flock(descriptor: int, how: int) -> None:
        real(descriptor, how)
        calls.append(how)
        if len(calls) == 1:
            path.unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold(path, waiting=pytest.fail):
        assert len(calls) == 2
        assert path.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileNotUsable), hold(tmp_path / "file" / "a.lock", waiting=pytest.fail):
        pytest.fail("there is no such place")


@pytest.fixture
def without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lustre without `-o flock`."""

    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("without_flock")
def test_where_there_are_no_locks_a_file_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lease = tmp_path / "a.lock.lease"
    with hold(path, waiting=pytest.fail):
        assert lease.read_text() == f"process {os.getpid()} on {platform.node()}"

        def interrupt(message: str) -> None:
            assert "delete it if that is gone" in message
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), hold(path, waiting=interrupt):
            pytest.fail("it was held")
    assert not lease.exists()


@pytest.mark.usefixtures("without_flock")
def test_a_lease_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        child = process.pid
    lease = tmp_path / "a.lock.lease"
    lease.write_text(f"process {child} on {platform.node()}")

    with hold(tmp_path / "a.lock", waiting=pytest.fail):
        assert str(os.getpid()) in lease.read_text()


@pytest.mark.usefixtures("without_flock")
@pytest.mark.parametrize("holder", ["process 1 on elsewhere", "", "process 1 on {here}"])
def test_a_lease_of_who_may_live_is_waited_for(tmp_path: Path, holder: str) -> None:
    """Of another host nothing is known; process 1 lives on every host."""
    lease = tmp_path / "a.lock.lease"
    lease.write_text(holder.format(here=platform.node()))
    told = []

    def give_way(message: str) -> None:
        told.append(message)
        lease.unlink()

    with hold(tmp_path / "a.lock", waiting=give_way):
        assert len(told) == 1


def test_other_errors_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(FileNotUsable, match="input/output error"),
        hold(tmp_path / "a.lock", waiting=pytest.fail),
    ):
        pytest.fail("the disk is broken")


@pytest.mark.usefixtures("without_flock")
def test_a_lease_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: Path, *given: int) -> int:
        if str(path).endswith(".lease"):
            raise PermissionError(13, "Permission denied")
        return real(path, *given)

    monkeypatch.setattr(os, "open", refuse)
    with (
        pytest.raises(FileNotUsable, match="permission denied"),
        hold(tmp_path / "a.lock", waiting=pytest.fail),
    ):
        pytest.fail("it cannot be held")


@pytest.mark.usefixtures("without_flock")
def test_a_lease_of_another_user_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that may not be signalled lives."""

    def forbidden(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    lease = tmp_path / "a.lock.lease"
    lease.write_text(f"process 4242 on {platform.node()}")
    monkeypatch.setattr(os, "kill", forbidden)
    with hold(tmp_path / "a.lock", waiting=lambda _: lease.unlink()):
        assert lease.exists()
