"""Installing from a folder, and removing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.workplace import NAME, FakeWorkplace, fake_workplace

from envforge.adapters.conda_registry import registered
from envforge.adapters.environments import CONDA_LOCK_YML, ENVIRONMENT_YML
from envforge.adapters.prefix_reader import read_record
from envforge.errors import (
    BrokenPrefix,
    FileNotUsable,
    InvalidValue,
    NoSuchEnvironment,
    StaleLock,
)
from envforge.forge import Forge, folders
from envforge.forge.prefixes import installing
from envforge.model.lock import Lock
from envforge.model.prefix import PrefixState


@pytest.fixture
def place(tmp_path: Path) -> FakeWorkplace:
    return fake_workplace(tmp_path)


@pytest.fixture
def folder(place: FakeWorkplace) -> Path:
    """A locked environment."""
    forge = Forge(settings=place.settings)
    forge._workplace = place
    return forge.lock("p", torch="2.7.1", cuda="12.6", python="3.10").folder


def lock_in(place: FakeWorkplace, folder: Path) -> Lock:
    lock = folders.read_lock(place, folder)
    assert lock is not None
    return lock


def test_the_prefix_says_for_which_environment_it_is(place: FakeWorkplace, folder: Path) -> None:
    result = installing.install(place, folder, lock_in(place, folder), None)
    record = read_record(result.prefix)

    assert result.prefix == place.settings.prefixes / NAME
    assert record is not None
    assert record.environment == str(folder)
    assert record.complete
    assert registered(place.settings.home) == (result.prefix,)


def test_variables_of_the_lock_are_set_on_activation(place: FakeWorkplace, folder: Path) -> None:
    lock = lock_in(place, folder)
    lock = replace(lock, metadata={folders.VARIABLES: json.dumps({"A": "b"})})
    prefix = installing.install(place, folder, lock, None).prefix

    assert folders.variables_of(lock) == {"A": "b"}
    state = json.loads((prefix / "conda-meta" / "state").read_text())
    assert state["env_vars"] == {"A": "b", "PYTHONNOUSERSITE": "1"}


def test_condas_history_keeps_what_was_asked_for(
    place: FakeWorkplace, folder: Path, tmp_path: Path
) -> None:
    """Also of a folder that lies elsewhere, and none where there is no environment.yml."""
    elsewhere = tmp_path / "elsewhere" / NAME
    shutil.move(folder, elsewhere)
    first = installing.install(place, elsewhere, lock_in(place, elsewhere), tmp_path / "first")
    (elsewhere / ENVIRONMENT_YML).unlink()
    second = installing.install(place, elsewhere, lock_in(place, elsewhere), tmp_path / "second")

    histories = [
        (result.prefix / "conda-meta" / "history").read_text() for result in (first, second)
    ]
    assert "pytorch=2.7.1=*cuda126*" in histories[0]
    assert "update specs: [" not in histories[1]


def test_a_lock_alone_is_enough(place: FakeWorkplace, folder: Path) -> None:
    """What CI copies into a cluster."""
    (folder / ENVIRONMENT_YML).unlink()
    for how in ({"locked": True}, {"locked": False}, {"locked": True, "dry_run": True}):
        assert installing.current_lock(place, folder, **how) == lock_in(place, folder)


def test_a_lock_that_is_missing_is_made_unless_that_is_ruled_out(
    place: FakeWorkplace, folder: Path
) -> None:
    before = lock_in(place, folder)
    (folder / CONDA_LOCK_YML).unlink()
    with pytest.raises(StaleLock, match=r"there is no conda-lock\.yml"):
        installing.current_lock(place, folder, locked=True)
    made = installing.current_lock(place, folder, locked=False)

    assert made.packages == before.packages


def test_a_lock_for_other_platforms_cannot_be_installed_here(
    place: FakeWorkplace, folder: Path
) -> None:
    lock = replace(lock_in(place, folder), platforms=("win-64", "osx-arm64"))
    with pytest.raises(InvalidValue) as caught:
        installing.install(place, folder, lock, None)

    assert str(caught.value) == (
        f"platform `linux-64` is this machine's, and `{NAME}` is locked for win-64, osx-arm64"
    )
    assert caught.value.hint == "add `- linux-64` to `platforms:` in environment.yml"


def test_platforms_that_can_be_created_here() -> None:
    installing.check_platform(("win-64", "linux-64"))
    with pytest.raises(InvalidValue, match="`win-64` is not this machine's, linux-64"):
        installing.check_platform(("win-64",))


def test_a_plan_writes_nothing(place: FakeWorkplace, folder: Path) -> None:
    planned = installing.plan(place, folder, lock_in(place, folder), None)

    assert planned.state is PrefixState.ABSENT
    assert len(planned.plan.add) == 3
    assert planned.forecast.download_bytes > 0
    assert not planned.prefix.exists()


def test_only_what_is_there_is_removed(place: FakeWorkplace, folder: Path) -> None:
    assert installing.plan_removal(place, "p", prefix=None, folder=False) == ()
    prefix = installing.install(place, folder, lock_in(place, folder), None).prefix
    assert installing.plan_removal(place, "p", prefix=None, folder=True) == (prefix, folder)
    installing.remove(place, "p", prefix=None, folder=True)

    assert not prefix.exists()
    assert not folder.exists()
    assert registered(place.settings.home) == ()
    with pytest.raises(NoSuchEnvironment):
        installing.plan_removal(place, "p", prefix=None, folder=False)


def test_what_is_not_ours_is_not_removed(
    place: FakeWorkplace, folder: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "conda's"
    (foreign / "conda-meta").mkdir(parents=True)
    (foreign / "conda-meta" / "history").write_text("")
    with pytest.raises(BrokenPrefix, match="envforge did not make"):
        installing.remove(place, "p", prefix=foreign, folder=True)
    with pytest.raises(BrokenPrefix, match="is not empty, and no environment"):
        installing.plan_removal(place, "p", prefix=tmp_path, folder=False)

    assert foreign.exists()
    assert folder.exists()


def test_a_folder_that_cannot_be_removed_is_named(place: FakeWorkplace, folder: Path) -> None:
    """A link to the folder, as sites share them: not ours to follow."""
    folder.rename(folder.with_name("real"))
    folder.symlink_to(folder.with_name("real"))
    with pytest.raises(FileNotUsable, match=NAME):
        installing.remove(place, NAME, prefix=None, folder=True)

    assert folder.with_name("real").exists()
