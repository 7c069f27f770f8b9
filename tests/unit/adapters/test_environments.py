"""Folders of environments: found, read, written whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from envforge.adapters.environments import Environments
from envforge.errors import FileNotUsable, InvalidFile, NoSuchEnvironment

FILES = {"environment.yml": "e", "virtual-packages.yml": "v", "conda-lock.yml": "l"}


@pytest.fixture
def environments(tmp_path: Path) -> Environments:
    found = Environments(tmp_path / "envs")
    found.write(found.folder("nlp-bert-torch20-cu118"), FILES)
    found.write(found.folder("nlp-gpt-torch20-cpu"), FILES)
    return found


def test_names_are_those_with_files(environments: Environments) -> None:
    (environments.root / "empty").mkdir()
    (environments.root / ".hidden").mkdir()

    assert environments.names() == ("nlp-bert-torch20-cu118", "nlp-gpt-torch20-cpu")
    assert Environments(environments.root / "none").names() == ()


def test_locate_by_name_beginning_or_path(environments: Environments) -> None:
    folder = environments.folder("nlp-bert-torch20-cu118")

    assert environments.locate("nlp-bert-torch20-cu118") == folder
    assert environments.locate("nlp-bert") == folder
    assert environments.locate("nlp-bert-torch20-cu118/") == folder
    assert environments.locate(str(folder)) == folder
    assert environments.locate(str(folder / "conda-lock.yml")) == folder


def test_an_unknown_name_shows_the_nearest(environments: Environments) -> None:
    with pytest.raises(NoSuchEnvironment) as caught:
        environments.locate("nlp-bart-torch20-cu118")

    assert "`nlp-bert-torch20-cu118`" in (caught.value.hint or "")
    with pytest.raises(NoSuchEnvironment) as caught:
        environments.locate("nlp-brt")
    assert "`nlp-bert-torch20-cu118`" in (caught.value.hint or "")
    with pytest.raises(NoSuchEnvironment, match="`zzz`"):
        environments.locate("zzz")
    with pytest.raises(NoSuchEnvironment) as caught:
        environments.locate(str(environments.root))
    assert str(caught.value.hint).endswith("` is a folder without conda-lock.yml")


def test_only_changes_are_written(environments: Environments) -> None:
    folder = environments.folder("nlp-bert-torch20-cu118")
    before = (folder / "environment.yml").stat().st_mtime_ns

    assert environments.write(folder, FILES) is False
    assert environments.write(folder, {**FILES, "conda-lock.yml": "new"}) is True
    assert (folder / "environment.yml").stat().st_mtime_ns == before
    assert environments.read(folder, "conda-lock.yml") == "new"
    assert environments.read(folder, "models.yml") is None


def test_another_process_that_was_faster_is_no_error(
    environments: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both write a new folder: the second finds the place taken, and changes what differs."""
    folder, rename = environments.root / "env", Path.rename

    def overtaken(aside: Path, target: Path) -> Path:
        if not target.exists():
            target.mkdir()
            (target / "environment.yml").write_text("name: old\n")
        return rename(aside, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    assert environments.write(folder, FILES)

    assert {path.name: path.read_text() for path in folder.iterdir()} == FILES


def test_a_failed_first_write_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("in the way")

    with pytest.raises(InvalidFile, match="where the folder of environments belongs"):
        Environments(root).write(root / "env", FILES)
    with pytest.raises(InvalidFile, match="where the folder of environments belongs"):
        Environments(root).names()

    assert root.read_text() == "in the way"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_in_place_of_the_folder_is_refused(environments: Environments) -> None:
    (environments.root / "x").write_text("")

    with pytest.raises(InvalidFile, match="a file is where the environment's folder belongs"):
        environments.write(environments.root / "x", FILES)


def test_a_folder_that_may_not_be_listed_is_named(
    environments: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(FileNotUsable, match="permission denied"):
        environments.names()


def test_one_that_may_not_be_looked_into_is_listed_all_the_same(environments: Environments) -> None:
    """Others in a shared folder close theirs; a link to itself cannot be entered by anybody."""
    closed = environments.root / "closed"
    closed.symlink_to(closed)

    assert "closed" in environments.names()
    with pytest.raises(FileNotUsable, match="too many levels"):
        environments.read(closed, "environment.yml")
    with pytest.raises(FileNotUsable, match="too many levels"):
        environments.locate(f"{closed}/x")
    with pytest.raises(FileNotUsable, match="too many levels"):
        environments.check_place(closed / "x")


def test_a_root_that_no_filesystem_can_have(tmp_path: Path) -> None:
    with pytest.raises(FileNotUsable, match="name too long"):
        Environments(tmp_path / ("x" * 300)).names()


def test_what_is_taken(environments: Environments, monkeypatch: pytest.MonkeyPatch) -> None:
    (environments.root / "empty").mkdir()
    taken = [environments.is_taken(environments.root / name) for name in ("empty", "none")]

    assert taken == [False, False]
    assert environments.is_taken(environments.folder("nlp-gpt-torch20-cpu"))

    def refuse(_: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(FileNotUsable, match="permission denied"):
        environments.is_taken(environments.root / "empty")
