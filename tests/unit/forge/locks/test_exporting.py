"""`Forge.export`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.exported import models
from fakes.workplace import NAME, FakeWorkplace, fake_forge, make_environment

from envforge.errors import InvalidValue, NoSuchEnvironment, StaleLock
from envforge.forge import Forge
from envforge.formats.models import models_lock_yml
from envforge.model.export import EXPORT_TARGETS, Export, ExportFile

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return fake_forge(tmp_path)


@pytest.fixture
def folder(forge: Forge) -> Path:
    return make_environment(forge)


def file(export: Export, name: str) -> str:
    [text] = [item.text for item in export.files if item.name == name]
    return text


def test_an_environment_of_ours(forge: Forge, folder: Path) -> None:
    export = forge.export("p", "explicit")

    assert (export.environment, export.platforms) == (NAME, ("linux-64",))
    assert "/pytorch-2.7.1-cuda126_generic_py310_200" in file(export, "conda-linux-64.lock")


def test_what_was_asked_for_and_the_machine_come_along(forge: Forge, folder: Path) -> None:
    manifest = tomllib.loads(file(forge.export("p", "pixi"), "pixi.toml"))

    assert manifest["workspace"]["name"] == NAME
    assert manifest["dependencies"]["pytorch"] == {"version": "==2.7.1", "build": "*cuda126*"}
    assert "cuda" in manifest["system-requirements"]


def test_both_bills_of_materials(forge: Forge, folder: Path) -> None:
    (folder / "models-lock.yml").write_text(models_lock_yml.write(models()))
    export = forge.export("p", "sbom")

    assert [item.name for item in export.files] == [f"{NAME}.cdx.json", f"{NAME}.spdx.json"]
    assert [item.what.partition(",")[0] for item in export.losses] == ["licences"]
    components = json.loads(export.files[0].text)["components"]
    assert {"pytorch", "Org/Bert-Base"} <= {item["name"] for item in components}
    assert forge.export("p", "cyclonedx").files == export.files[:1]
    assert forge.export("p", "spdx").files == export.files[1:]


@pytest.mark.parametrize("target", sorted({*EXPORT_TARGETS} - {"pylock", "requirements"}))
def test_twice_gives_the_same_bytes(forge: Forge, folder: Path, target: str) -> None:
    assert forge.export("p", target) == forge.export(str(folder), target)


def test_what_is_no_format(forge: Forge, folder: Path) -> None:
    with pytest.raises(InvalidValue, match="`docker` is no format") as caught:
        forge.export("p", "docker")

    assert "explicit, environment.yml, pixi" in str(caught.value.hint)
    assert str(caught.value.hint).startswith("did you mean `dockerfile`? ")


def test_what_is_not_there(forge: Forge, folder: Path) -> None:
    with pytest.raises(NoSuchEnvironment):
        forge.export("nothing-like-it", "explicit")


def test_what_is_not_locked(forge: Forge, folder: Path) -> None:
    (folder / "conda-lock.yml").unlink()

    with pytest.raises(StaleLock) as caught:
        forge.export("p", "explicit")
    assert caught.value.hint == f"`envforge lock {NAME}`"


def test_a_stale_lock_is_exported_with_a_warning(tmp_path: Path) -> None:
    forge = fake_forge(tmp_path)
    folder = make_environment(forge)
    source = folder / "environment.yml"
    source.write_text(source.read_text().replace("dependencies:\n", "dependencies:\n  - new\n"))

    forge.export("p", "explicit")

    workplace = forge._workplace
    assert isinstance(workplace, FakeWorkplace)
    [warning] = workplace.reporter.warnings  # type: ignore[attr-defined]
    assert "is not current" in warning
    assert "`new` is not in the lock" in warning


def test_a_lock_alone(forge: Forge, folder: Path) -> None:
    """Without environment.yml it is not known what was asked for."""
    (folder / "environment.yml").unlink()

    found = forge.export(str(folder / "conda-lock.yml"), "pixi")

    assert any("not known" in item.what for item in found.losses)


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("team.conda-lock.yml", "team"),
        ("nerf-torch2.2.v4.pixi.lock", "nerf-torch2.2"),
        ("conda-linux-64.lock", "conda-linux-64"),
        ("spec.explicit.txt", "spec"),
    ],
)
def test_the_lock_of_another_tool(
    forge: Forge, folder: Path, tmp_path: Path, name: str, called: str
) -> None:
    """Through our own writers; `test_reader_matrix.py` has files of the tools themselves."""
    written = {
        "conda-lock.yml": (folder / "conda-lock.yml").read_text(),
        "pixi.lock": file(forge.export("p", "pixi"), "pixi.lock"),
        "lock": file(forge.export("p", "explicit"), "conda-linux-64.lock"),
    }
    ending = next(item for item in written if name.endswith(item)) if "txt" not in name else "lock"
    path = tmp_path / "elsewhere" / name
    path.parent.mkdir()
    path.write_text(written[ending])

    export = forge.export(str(path), "explicit")

    own = file(forge.export("p", "explicit"), "conda-linux-64.lock").partition("@EXPLICIT")[2]
    theirs = file(export, "conda-linux-64.lock").partition("@EXPLICIT")[2]
    assert export.environment == called
    assert sorted(theirs.splitlines()) == sorted(own.splitlines())


def test_what_lies_beside_the_lock_of_another_tool_says_what_was_asked_for(
    forge: Forge, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "shared" / "x"
    forge.write_export(forge.export("p", "pixi"), output)

    export = forge.export(f"{output}/pixi.lock", "pixi")

    assert export.environment == "x"
    assert not any("not known" in item.what for item in export.losses)
    asked = tomllib.loads(file(export, "pixi.toml"))["dependencies"]
    assert asked == {"python": "==3.10.14", "pytorch": "==2.7.1", "cuda-version": "==12.6"}


def test_a_file_that_pins_nothing(forge: Forge, tmp_path: Path) -> None:
    path = tmp_path / "asked.yml"
    path.write_text("name: x\nchannels: [conda-forge]\ndependencies: [python=3.11]\n")

    with pytest.raises(Exception, match="pins nothing"):
        forge.export(str(path), "explicit")


# --- onto disk ------------------------------------------------------------------------------


def export_of(*names: str) -> Export:
    return Export(
        environment="x",
        target="explicit",
        platforms=(),
        files=tuple(ExportFile(name=name, text=name) for name in names),
    )


def test_one_file_takes_the_name_given(forge: Forge, tmp_path: Path) -> None:
    assert forge.write_export(export_of("a"), tmp_path / "deep/b") == (tmp_path / "deep/b",)
    assert (tmp_path / "deep/b").read_text() == "a"


@pytest.mark.parametrize("slash", ["", "/"])
def test_one_file_into_a_folder(forge: Forge, tmp_path: Path, slash: str) -> None:
    output = tmp_path / "out"
    if not slash:
        output.mkdir()

    assert forge.write_export(export_of("a"), f"{output}{slash}") == (output / "a",)


def test_several_files_into_a_folder(forge: Forge, tmp_path: Path) -> None:
    paths = forge.write_export(export_of("a", "b"), tmp_path / "out")

    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["out/a", "out/b"]
    assert [path.read_text() for path in paths] == ["a", "b"]


@pytest.mark.parametrize("name", ["environment.yml", "conda-lock.yml"])
def test_the_files_of_an_environment_are_not_replaced(
    forge: Forge, folder: Path, name: str
) -> None:
    before = (folder / name).read_text()

    with pytest.raises(InvalidValue, match="a file of the environment itself"):
        forge.write_export(export_of("a"), folder / name)
    with pytest.raises(InvalidValue):
        forge.write_export(replace(export_of("a", name)), folder)
    assert (folder / name).read_text() == before
    assert not (folder / "a").exists()
