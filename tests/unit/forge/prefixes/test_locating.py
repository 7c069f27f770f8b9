"""Where an environment is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.workplace import FakeWorkplace, fake_workplace

from envforge.adapters.conda_registry import register
from envforge.adapters.prefix_writer import write_marker
from envforge.errors import BrokenPrefix
from envforge.forge.prefixes.locating import (
    default_prefix,
    find_prefix,
    prefix_of,
    refuse_of_another,
    usable_prefix,
)
from envforge.model.prefix import InstallRecord

NAME = "p-torch27-cpu"


@pytest.fixture
def place(tmp_path: Path) -> FakeWorkplace:
    return fake_workplace(tmp_path)


@pytest.fixture
def folder(place: FakeWorkplace) -> Path:
    """Of the environment."""
    folder = place.environments.folder(NAME)
    folder.mkdir(parents=True)
    return folder


def installed(prefix: Path, made_from: Path, *, complete: bool = True) -> Path:
    """A prefix that bears our mark."""
    (prefix / "conda-meta").mkdir(parents=True)
    record = InstallRecord(digest="d", complete=complete, environment=str(made_from))
    write_marker(prefix, record)
    return prefix


def test_what_was_made_from_this_folder_comes_first(
    place: FakeWorkplace, folder: Path, tmp_path: Path
) -> None:
    """The last one, where there are several; then the usual place."""
    usual = installed(default_prefix(place, folder), tmp_path / "another clone" / NAME)
    assert find_prefix(place, folder) == usual
    for name in ("first", "last"):
        register(place.settings.home, installed(tmp_path / name, folder))

    assert find_prefix(place, folder) == tmp_path / "last"


def test_a_registered_prefix_is_known_by_its_mark(
    place: FakeWorkplace, folder: Path, tmp_path: Path
) -> None:
    """Others' environments, removed ones and those of other folders are passed over."""
    foreign = tmp_path / "foreign"
    (foreign / "conda-meta").mkdir(parents=True)
    clone = tmp_path / "clone" / NAME
    clone.mkdir(parents=True)
    others = (
        foreign,
        tmp_path / "gone",
        installed(tmp_path / "other", folder.with_name("q-torch27-cpu")),
        installed(tmp_path / "clone's", clone),
    )
    for prefix in others:
        register(place.settings.home, prefix)
    assert find_prefix(place, folder) is None

    assert find_prefix(place, clone) == tmp_path / "clone's"


def test_the_environment_of_another_clone_is_not_ours(
    place: FakeWorkplace, folder: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone" / NAME
    clone.mkdir(parents=True)
    usual = installed(default_prefix(place, folder), clone)
    register(place.settings.home, usual)

    assert find_prefix(place, folder) is None
    with pytest.raises(BrokenPrefix, match="is the environment of") as caught:
        refuse_of_another(folder, usual)
    assert "--prefix" in (caught.value.hint or "")
    refuse_of_another(clone, usual)
    clone.rmdir()  # a folder that is gone claims nothing
    refuse_of_another(folder, usual)
    assert find_prefix(place, folder) == usual


def test_a_folder_that_has_moved_finds_its_prefix(
    place: FakeWorkplace, folder: Path, tmp_path: Path
) -> None:
    """By its name, once nothing is left where it was."""
    register(place.settings.home, installed(tmp_path / "mine", tmp_path / "old place" / NAME))

    assert find_prefix(place, folder) == tmp_path / "mine"


def test_what_was_given_counts_and_is_made_absolute(
    place: FakeWorkplace, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative prefix would end in the first line of every script."""
    monkeypatch.chdir(tmp_path)
    installed(default_prefix(place, folder), folder)

    assert prefix_of(place, folder, Path("x")) == tmp_path / "x"
    assert prefix_of(place, folder, Path("a/../x")) == tmp_path / "x"
    assert prefix_of(place, folder, Path("~/x")) == Path("~/x").expanduser()
    assert prefix_of(place, folder, None) == place.settings.prefixes / NAME
    other = folder.with_name("q-torch27-cpu")
    assert prefix_of(place, other, None) == place.settings.prefixes / "q-torch27-cpu"


@pytest.mark.parametrize(
    ("complete", "reason"),
    [(None, "nothing is installed here"), (False, "an install of it was interrupted")],
)
def test_what_is_not_whole_is_not_entered(
    place: FakeWorkplace, folder: Path, complete: bool | None, reason: str
) -> None:
    if complete is not None:
        installed(default_prefix(place, folder), folder, complete=complete)
    with pytest.raises(BrokenPrefix, match=reason) as caught:
        usable_prefix(place, folder, None)

    assert caught.value.hint == f"`envforge install {NAME}`"


def test_whole_ones_are_entered_whoever_made_them(
    place: FakeWorkplace, folder: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    (foreign / "conda-meta").mkdir(parents=True)
    (foreign / "conda-meta" / "history").write_text("")

    assert usable_prefix(place, folder, foreign) == foreign
    assert usable_prefix(place, folder, installed(tmp_path / "mine", folder)) == tmp_path / "mine"


def test_folders_that_may_not_be_entered_are_none(
    place: FakeWorkplace, folder: Path, tmp_path: Path
) -> None:
    """Nobody can enter a link to itself, as nobody but its owner a closed home."""
    closed = tmp_path / "closed"
    closed.symlink_to(closed)
    mine = installed(tmp_path / "mine", closed / ("x" * 300) / NAME)
    register(place.settings.home, mine)

    assert find_prefix(place, folder) == mine
