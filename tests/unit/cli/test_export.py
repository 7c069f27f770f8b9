"""`envforge export`."""

from __future__ import annotations

import json
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
    assert "mirror-list" in done.err
    assert "dockerfile" in done.err
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


def test_an_image_tells_its_layers_and_what_to_do(run: Run, forge: Forge, tmp_path: Path) -> None:
    make_environment(forge)
    done = run("export", "p", "--to", "dockerfile", "-o", f"{tmp_path / 'a b'}/")

    assert done.status == 0
    assert str(tmp_path / "a b" / "Dockerfile") in done.out.splitlines()
    assert "layer: the environment, 3 packages: about " in done.err
    assert "expected size, without your code: about " in done.err
    assert f"next: docker build -t {NAME} '{tmp_path / 'a b'}'" in done.err


def test_settings_of_an_output(run: Run, forge: Forge) -> None:
    make_environment(forge)
    done = run("export", "p", "--to", "dockerfile", "--set", "uid=77", "--json")
    document = json.loads(done.out)
    assert "USER 77:77" in document["files"][0]["text"]
    assert [item["estimated"] for item in document["layers"]] == [True] * 3

    refused = run("export", "p", "--to", "dockerfile", "--set", "uid")
    assert (refused.status, refused.out) == (2, "")
    assert "--set `uid` is not NAME=VALUE" in refused.err
    refused = run("export", "p", "--to", "dockerfile", "--bake-models", "all")
    assert "no models-lock.yml" in refused.err


def test_settings_are_listed(run: Run, forge: Forge) -> None:
    done = run("export", "p", "--to", "dockerfile", "--settings")
    assert "bake-models [none]\n" in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines() if "sha256" not in line)
    listed = json.loads(run("export", "p", "--to", "dockerfile", "--settings", "--json").out)
    assert {item["name"] for item in listed["settings"]} >= {"uid", "base-image"}
    none = run("export", "p", "--to", "explicit", "--settings")
    assert (none.out, none.err) == ("", "`explicit` names no settings\n")


def test_what_to_do_next_names_where_it_was_written(run: Run, forge: Forge, tmp_path: Path) -> None:
    make_environment(forge)

    def told(to: str, output: str, *settings: str) -> str:
        given = [item for setting in settings for item in ("--set", setting)]
        done = run("export", "p", "--to", to, *given, "-o", f"{tmp_path}/{output}")
        return done.err.splitlines()[-1].replace(str(tmp_path), "")

    prefix = "prefix=/srv/p"
    assert told("onboarding", "in.sh", "envs=/srv/envs") == "next: sh /in.sh --dry-run"
    assert told("slurm", "s", prefix) == f"next: sbatch /s/{NAME}.sbatch python train.py"
    assert told("lmod", "m/", prefix) == f"next: module use /m && module load {NAME}"
    assert told("jupyter", "k/", prefix).endswith(f"install --user --name {NAME} /k")
    spaced = told("systemd", "a b", prefix)
    assert f"/a b'/{NAME}[@-]* /etc/systemd/system/ && sudo systemctl enable --now " in spaced


def test_several_files_on_standard_output_tell_the_mistake_alone(run: Run, forge: Forge) -> None:
    make_environment(forge)
    done = run("export", "p", "--to", "dockerfile")

    assert done.status == 2
    assert done.err.startswith("error: export `dockerfile` is several files")
