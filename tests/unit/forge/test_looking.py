"""`list` and `show`."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.workplace import NAME, fake_forge, make_environment

from envforge.errors import InvalidFile, InvalidValue, NoSuchEnvironment
from envforge.forge import Forge
from envforge.model.prefix import PrefixState


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return fake_forge(tmp_path)


def test_an_environment_from_nothing_to_installed(forge: Forge) -> None:
    make_environment(forge)
    locked = forge.show("p")
    assert (locked.name, locked.stale, locked.prefix) == (NAME, (), None)
    assert (locked.state, locked.up_to_date) == (PrefixState.ABSENT, False)
    assert locked.lock is not None
    forge.install("p")
    [installed] = forge.environments()

    assert installed.prefix == forge.settings.prefixes / NAME
    assert (installed.state, installed.up_to_date) == (PrefixState.INSTALLED, True)
    assert forge.show(NAME) == installed


def test_a_prefix_of_another_lock_is_told_from_one_of_this(forge: Forge) -> None:
    folder = make_environment(forge)
    forge.install("p")
    path = folder / "environment.yml"
    path.write_text(f"{path.read_text().rstrip()}\n  - numpy\n")
    assert forge.show("p").stale[0] == "`numpy` is not in the lock"
    assert forge.show("p").up_to_date  # it is as the lock says, though that is stale
    forge.lock("p")

    assert forge.show("p").stale == ()
    assert not forge.show("p").up_to_date


def test_a_broken_folder_does_not_hide_the_others(forge: Forge) -> None:
    """Its problem is one line; `show` tells all."""
    make_environment(forge)
    broken = make_environment(forge, "broken")
    (broken / "environment.yml").write_text("dependencies: [numpy]\nchanels: []\n")
    infos = {info.name: info for info in forge.environments()}

    assert infos[NAME].problem is None
    problem = infos[broken.name].problem
    assert problem is not None
    assert problem.startswith("environment.yml: line ")
    assert " more)" in problem
    assert "\n" not in problem
    assert infos[broken.name].lock is None
    with pytest.raises(InvalidFile):
        forge.show("broken")


def test_a_file_that_cannot_be_read_is_a_problem_in_one_line(forge: Forge) -> None:
    folder = make_environment(forge)
    (folder / "conda-lock.yml").write_bytes(b"\xff\xfe")
    [info] = forge.environments()

    assert info.problem == (f"cannot use `{folder / 'conda-lock.yml'}`: it is not UTF-8 (byte 0)")


def test_a_lock_alone_is_an_environment_too(forge: Forge) -> None:
    """As it is copied into a cluster: there is nothing that it could be stale against."""
    (make_environment(forge) / "environment.yml").unlink()
    [info] = forge.environments()

    assert info.problem is None
    assert info.lock is not None
    assert info.stale == ()
    forge.install("p", locked=True)
    assert forge.show("p").up_to_date


def test_an_environment_yml_alone_is_not_locked_yet(forge: Forge) -> None:
    (make_environment(forge) / "conda-lock.yml").unlink()
    info = forge.show("p")

    assert (info.lock, info.stale, info.problem) == (None, (), None)


def test_a_prefix_without_a_lock_is_as_nothing_says(forge: Forge) -> None:
    folder = make_environment(forge)
    forge.install("p")
    (folder / "conda-lock.yml").unlink()
    info = forge.show("p")

    assert info.state is PrefixState.INSTALLED
    assert not info.up_to_date


def test_an_empty_name_is_no_environment(forge: Forge) -> None:
    """What an unset variable in a script gives."""
    with pytest.raises(InvalidValue, match="is an empty name"):
        forge.show("")


def test_an_unknown_name_shows_the_nearest(forge: Forge) -> None:
    make_environment(forge)
    with pytest.raises(NoSuchEnvironment) as caught:
        forge.show("p-torch27-cu128")

    assert caught.value.hint == f"did you mean `{NAME}`?"
