"""Sources are found by path, folder or name, and read with what lies beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.conda_solver import package
from fakes.prefix_on_disk import forge_prefix
from fakes.workplace import FakeWorkplace, fake_workplace

from envforge.adapters import conda_registry
from envforge.errors import FileNotUsable, InvalidFile, InvalidValue, NoSuchEnvironment
from envforge.forge.locks import importing
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.imported import Imported, ImportedEnvironment
from envforge.model.lock import Lock

EXPLICIT = "@EXPLICIT\nhttps://conda.anaconda.org/conda-forge/linux-64/zlib-1-0.conda\n"
ENVIRONMENT = "name: mine\nchannels: [conda-forge]\ndependencies: [zlib]\nvariables: {A: b}\n"
PIXI_LOCK = """\
version: 6
environments:
  default:
    channels: []
    packages:
      linux-64: []
  extra:
    channels: []
    packages:
      linux-64: []
packages: []
"""
PIXI_TOML = """\
[workspace]
channels = ["conda-forge"]
platforms = ["linux-64"]
[dependencies]
zlib = "*"
[feature.extra.dependencies]
numpy = "*"
[environments]
extra = ["extra"]
"""


@pytest.fixture
def place(tmp_path: Path) -> FakeWorkplace:
    return fake_workplace(tmp_path)


@pytest.fixture
def conda_lock() -> str:
    lock = Lock(
        packages=(package("zlib", "1"),),
        platforms=("linux-64",),
        channels=("conda-forge",),
        content_hash={"linux-64": "a" * 64},
    )
    return conda_lock_yml.write(lock)


def test_a_lock_is_read_with_the_environment_beside_it(
    place: FakeWorkplace, tmp_path: Path, conda_lock: str
) -> None:
    (tmp_path / "conda-lock.yml").write_text(conda_lock)
    (tmp_path / "environment.yml").write_text(ENVIRONMENT)

    imported = importing.read_source(place, tmp_path / "conda-lock.yml")
    [environment] = imported.environments

    assert imported.kind == "conda-lock.yml"
    assert (environment.name, environment.variables) == ("mine", {"A": "b"})
    assert [item.name for item in environment.dependencies] == ["zlib"]
    assert importing.read_source(place, tmp_path).kind == "conda-lock.yml"


def test_a_file_beside_it_that_cannot_be_read_changes_nothing(conda_lock: str) -> None:
    imported = importing.read_text(conda_lock, "conda-lock.yml", beside={"environment.yml": "a: ["})

    assert imported.environments[0].dependencies == ()


def test_pixis_environments_find_their_own(place: FakeWorkplace, tmp_path: Path) -> None:
    (tmp_path / "pixi.lock").write_text(PIXI_LOCK)
    (tmp_path / "pixi.toml").write_text(PIXI_TOML)

    default, extra = importing.read_source(place, tmp_path).environments

    assert [item.name for item in default.dependencies] == ["zlib"]
    assert [item.name for item in extra.dependencies] == ["numpy", "zlib"]


def test_requirements_are_followed_through_folders(place: FakeWorkplace, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "requirements.txt").write_text("-r sub/base.txt\nrich==13.0\n")
    (tmp_path / "sub" / "base.txt").write_text("-r more.txt\nnumpy==1.26.4\n")
    (tmp_path / "sub" / "more.txt").write_text("six==1.16\n")

    [environment] = importing.read_source(place, tmp_path / "requirements.txt").environments

    assert [item.name for item in environment.dependencies] == ["six", "numpy", "rich"]


def test_requirements_that_name_each_other_are_read_once(
    place: FakeWorkplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"r{number}.txt" for number in range(300)]
    for name in ("requirements.txt", *names):
        (tmp_path / name).write_text("".join(f"-r {other}\n" for other in names) + "rich==13.0\n")
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return path.read_text()

    monkeypatch.setattr(importing.files, "read_text", counted)
    importing.read_source(place, tmp_path / "requirements.txt")
    assert len(read) == len(set(read)) <= 101


@pytest.mark.parametrize("name", ["pipe", "/dev/zero"])
def test_what_is_no_file_is_not_followed(place: FakeWorkplace, tmp_path: Path, name: str) -> None:
    """A pipe would make us wait, a device has no end."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "requirements.txt").write_text(f"-r {name}\nrich==13.0\n")

    [environment] = importing.read_source(place, tmp_path / "requirements.txt").environments
    assert f"`-r {name}` (line 1) was not followed" in environment.notes


def test_a_pyproject_counts_only_with_pixi_in_it(place: FakeWorkplace, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    (tmp_path / "Dockerfile").write_text("FROM x\nRUN pip install rich\n")

    assert importing.read_source(place, tmp_path).kind == "Dockerfile"


def test_environments_are_found_by_name(
    place: FakeWorkplace, tmp_path: Path, conda_lock: str
) -> None:
    ours = place.environments.folder("p-torch27-cu126")
    ours.mkdir(parents=True)
    (ours / "conda-lock.yml").write_text(conda_lock)
    prefix = forge_prefix(tmp_path / "elsewhere" / "old", (package("zlib", "1"),))
    conda_registry.register(place.settings.home, prefix)

    assert importing.read_source(place, "p-torch27-cu126").kind == "conda-lock.yml"
    assert importing.read_source(place, "old").kind == "prefix"
    with pytest.raises(NoSuchEnvironment):
        importing.read_source(place, "nowhere")


def test_a_folder_of_nothing_is_told(place: FakeWorkplace, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(InvalidFile, match="is no conda prefix"):
        importing.read_source(place, tmp_path / "x")
    (tmp_path / "x" / "requirements.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(FileNotUsable, match="not UTF-8"):
        importing.read_source(place, tmp_path / "x")


def test_a_byte_order_mark_is_no_part_of_a_text() -> None:
    assert importing.read_text("\ufeff" + EXPLICIT, "x").kind == "explicit"


def test_one_of_several_is_chosen_by_name() -> None:
    several = importing.read_text(PIXI_LOCK, "pixi.lock")
    nameless = Imported(
        origin="x",
        kind="pixi.lock",
        environments=(ImportedEnvironment(name="a"), ImportedEnvironment(name="b")),
    )

    assert several.choose().name == "default"
    assert several.choose("extra").name == "extra"
    assert importing.read_text(EXPLICIT, "x").choose().name == ""
    with pytest.raises(InvalidValue, match=r"`no` is not in `pixi\.lock`") as caught:
        several.choose("no")
    assert caught.value.hint == "`pixi.lock#default` names one; others are extra"
    with pytest.raises(InvalidValue, match="source `x` holds several environments") as caught:
        nameless.choose()
    assert caught.value.hint == "`x#a` names one; others are b"
