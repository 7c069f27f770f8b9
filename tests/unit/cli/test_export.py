"""`envforge export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fakes.command_line import Run
from fakes.workplace import NAME, make_environment

from envforge.forge import Forge


def test_one_file_goes_to_standard_output(run: Run, forge: Forge) -> None:
    make_environment(forge)
    done = run("export", "p", "--to", "explicit")

    assert done.status == 0
    assert done.out == forge.export("p", "explicit").files[0].text
    assert "not held: the machine it is for (" in done.err
    assert all(len(line) <= 80 for line in done.err.splitlines())


def test_several_files_need_a_folder(run: Run, forge: Forge, tmp_path: Path) -> None:
    make_environment(forge)
    refused = run("export", "p", "--to", "pixi")

    assert (refused.status, refused.out) == (2, "")
    assert "export `pixi` is several files (pixi.toml, pixi.lock)" in refused.err
    assert "hint: name a folder for them with `-o FOLDER`" in refused.err

    done = run("export", "p", "--to", "pixi", "-o", str(tmp_path / "out"))
    assert done.out.splitlines() == [
        str(tmp_path / "out/pixi.toml"),
        str(tmp_path / "out/pixi.lock"),
    ]
    assert (tmp_path / "out/pixi.lock").read_text().startswith("version: 6\n")


def test_sha256_instead_of_md5(run: Run, forge: Forge) -> None:
    make_environment(forge)

    assert "#sha256:" in run("export", "p", "--to", "explicit", "--sha256").out


def test_an_unknown_format_is_refused_by_name(run: Run, forge: Forge) -> None:
    done = run("export", "p", "--to", "docker")

    assert done.status == 2
    assert "'mirror-list'" in done.err
    done = run("export", "p", "--to", "conda-lock")
    assert "a conda-lock.yml lies in the folder of ENV already" in done.err


def test_a_format_may_be_called_as_its_file_is(run: Run, forge: Forge) -> None:
    make_environment(forge)
    done = run("export", "p", "--to", "environment.yaml", "-o", "-")

    assert done.out == forge.export("p", "environment.yml").files[0].text
    assert not Path("-").exists()
    assert run("export", "p", "--to", "requirements.txt").err.count("export `requirements`") == 1


def test_json(run: Run, forge: Forge, golden: Callable[[str, str], None]) -> None:
    make_environment(forge)

    golden("export.json", run("export", "p", "--to", "explicit", "--json").out)


def test_json_names_the_files_that_were_written(run: Run, forge: Forge, tmp_path: Path) -> None:
    make_environment(forge)
    output = tmp_path / "list.txt"
    document = run("export", "p", "--to", "mirror-list", "-o", str(output), "--json").json

    assert document["schema"] == "envforge.export/1"
    assert document["environment"] == NAME
    [file] = document["files"]
    assert (file["name"], file["path"]) == ("mirror-list.txt", str(output))
    assert "text" not in file


def test_several_files_are_one_document(run: Run, forge: Forge) -> None:
    make_environment(forge)
    document = run("export", "p", "--to", "pixi", "--json").json

    assert [item["name"] for item in document["files"]] == ["pixi.toml", "pixi.lock"]
    assert document["files"][1]["text"].startswith("version: 6\n")
