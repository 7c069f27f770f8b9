"""Root in a store of somebody else."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from envforge.adapters.store import acting
from envforge.adapters.store.acting import acting_as

OTHER = 64103

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")


@pytest.fixture
def top(open_folder: Path) -> Path:
    """A folder with one of somebody else in it."""
    (open_folder / "theirs").mkdir()
    os.chown(open_folder / "theirs", OTHER, OTHER)
    return open_folder


@pytest.fixture
def owner(top: Path) -> os.stat_result:
    return (top / "theirs").stat()


def test_what_is_made_is_theirs(owner: os.stat_result, top: Path) -> None:
    with acting_as(owner):
        (top / "theirs/new").write_text("x")
    (top / "ours").write_text("x")

    found = (top / "theirs/new").stat()
    assert (found.st_uid, found.st_gid) == (OTHER, OTHER)
    assert (top / "ours").stat().st_uid == 0


def test_their_links_lead_where_they_may_go(owner: os.stat_result, top: Path) -> None:
    victim = top / "victim"
    victim.write_text("secret")
    victim.chmod(0o600)
    link = top / "theirs/link"
    link.symlink_to(victim)

    with acting_as(owner):
        with pytest.raises(PermissionError):
            link.write_text("overwritten")
        with pytest.raises(PermissionError):
            link.chmod(0o644)
        with pytest.raises(PermissionError):
            link.read_text()

    assert link.read_text() == "secret"


def test_one_inside_another_and_an_error_end_well(owner: os.stat_result, top: Path) -> None:
    def work() -> None:
        with acting_as(owner):
            (top / "theirs/one").touch()
        (top / "theirs/two").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError), acting_as(owner):
        work()
    (top / "three").touch()

    names = ["theirs/one", "theirs/two", "three"]
    assert [(top / name).stat().st_uid for name in names] == [OTHER, OTHER, 0]


def test_other_threads_go_on_as_root(owner: os.stat_result, top: Path) -> None:
    go = threading.Event()

    def make() -> None:
        go.wait(10)
        (top / "by-a-thread").touch()

    thread = threading.Thread(target=make)
    thread.start()
    with acting_as(owner):
        go.set()
        thread.join()
        (top / "theirs/by-us").touch()

    names = ["by-a-thread", "theirs/by-us"]
    assert [(top / name).stat().st_uid for name in names] == [0, OTHER]


def test_roots_own_store_is_nothing_else(top: Path) -> None:
    with acting_as(top.stat()):
        assert acting._libc().setfsuid(-1) == 0


def test_a_user_that_this_system_does_not_allow(
    owner: os.stat_result, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def setfsuid(self, _uid: int) -> int:
            return 0

        setfsgid = setfsuid

    monkeypatch.setattr(acting, "_libc", Refusing)
    with pytest.raises(PermissionError), acting_as(owner):
        pass
