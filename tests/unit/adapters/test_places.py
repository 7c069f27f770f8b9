"""Interpreters, folders of packages, ELF files and caches that are not what they should be."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import sys
from pathlib import Path

import pytest
from fakes.prefix_on_disk import add_interpreter, add_script, forge_venv

from envforge.adapters.linking.elf_size import is_cut
from envforge.adapters.prefix import cache_facts, scripts
from envforge.adapters.prefix.conda_records import CondaRecords
from envforge.adapters.prefix.interpreter_file import interpreter_problem
from envforge.adapters.prefix.package_facts import disk_of
from envforge.adapters.prefix.site_folders import layout_of, site_folders
from envforge.model.prefix import InstalledPackage

# --- interpreters ---------------------------------------------------------------------------


def test_a_link_to_itself_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    assert interpreter_problem(tmp_path, []) == ""
    (tmp_path / "bin" / "python").symlink_to("python")
    assert interpreter_problem(tmp_path, []) == "`bin/python` is a link that leads nowhere"
    (tmp_path / "bin" / "python").unlink()
    (tmp_path / "bin" / "python").mkdir()
    assert interpreter_problem(tmp_path, []) == "`bin/python` is a folder"


def test_a_program_that_is_cut_off(tmp_path: Path) -> None:
    path = add_interpreter(tmp_path)
    whole = Path(os.path.realpath(sys.executable)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert interpreter_problem(tmp_path, []) == "`bin/python` is cut off"
    path.write_bytes(whole)
    assert interpreter_problem(tmp_path, []) == ""
    path.write_bytes(b"text")
    assert interpreter_problem(tmp_path, []) == "`bin/python` is no program"


def test_a_virtual_environment_whose_python_was_upgraded(tmp_path: Path) -> None:
    venv = forge_venv(tmp_path / "env", python="3.8")
    base = tmp_path / "python3.12"
    shutil.copy2(venv / "bin" / "python", base)
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to(base)
    sites = [venv / "lib/python3.8/site-packages"]
    assert interpreter_problem(venv, sites) == (
        "`python` is Python 3.12 now, and the packages are for 3.8"
    )
    sites.append(venv / "lib/python3.12/site-packages")
    assert interpreter_problem(venv, sites) == ""


# --- folders --------------------------------------------------------------------------------


def test_kinds_of_places(tmp_path: Path) -> None:
    assert layout_of(tmp_path) == "none"
    (tmp_path / "lib" / "python3.11").mkdir(parents=True)
    assert layout_of(tmp_path) == "system"
    (tmp_path / "pyvenv.cfg").touch()
    assert layout_of(tmp_path) == "venv"
    (tmp_path / "conda-meta").mkdir()
    assert layout_of(tmp_path) == "conda"


def test_folders_of_packages(tmp_path: Path) -> None:
    places = (
        "lib/python3.9/site-packages",
        "lib/python3.11/site-packages",
        "lib/python3/dist-packages",
        "local/lib/python3.11/dist-packages",
        "lib64/python3.11/site-packages",
    )
    for place in places:
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "lib" / "python3.12").mkdir()
    (tmp_path / "lib" / "python3.10").symlink_to("python3.9")

    def found(layout: str, **records: object) -> list[str]:
        made = CondaRecords(**records)  # type: ignore[arg-type]
        folders = site_folders(tmp_path, None, made, layout)  # type: ignore[arg-type]
        return [str(folder.relative_to(tmp_path)) for folder in folders]

    newest = ["lib/python3.11/site-packages", "lib/python3.10/site-packages", places[4]]
    assert found("venv") == newest
    assert found("system") == [*newest, places[3], places[2]]
    python = InstalledPackage(name="python", manager="conda", version="3.9.1", build="0")
    assert found("conda", packages=[python])[0] == "lib/python3.9/site-packages"
    assert found("conda", site=places[4])[0] == places[4]
    given = tmp_path / places[2]
    assert site_folders(tmp_path, given, CondaRecords(), "venv")[0] == given


# --- ELF ------------------------------------------------------------------------------------


def test_what_is_whole_and_what_is_cut(tmp_path: Path) -> None:
    whole = Path(os.path.realpath(sys.executable)).read_bytes()
    path = tmp_path / "x"
    for data, said in (
        (whole, False),
        (whole[:-1], True),
        (whole[:300], True),
        (whole[:20], True),
        (b"\x7fELF", None),
        (b"\x7fELF\x09\x01" + bytes(60), None),
        (b"text", None),
        (b"", None),
    ):
        path.write_bytes(data)
        assert is_cut(str(path)) is said, data[:8]
    assert is_cut(str(tmp_path / "none")) is None


def test_headers_that_lie(tmp_path: Path) -> None:
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<H", header, 56, 3)  # segments, and no size of one
    (tmp_path / "x").write_bytes(header)
    assert is_cut(str(tmp_path / "x")) is None
    header[4] = 1
    struct.pack_into("<IIIHHHHHH", header, 28, 52, 60, 0, 52, 32, 1, 40, 2, 0)
    (tmp_path / "x").write_bytes(header)
    assert is_cut(str(tmp_path / "x")) is True


# --- scripts --------------------------------------------------------------------------------


def test_scripts_are_looked_at_where_they_can_be(tmp_path: Path) -> None:
    assert list(scripts.misled(tmp_path, "venv", "python")) == []
    venv = forge_venv(tmp_path / "env")
    add_script(venv, "tool", "/nowhere")
    (venv / "bin" / "link").symlink_to("/nowhere/bin/tool")
    (venv / "bin" / "odd").write_bytes(b"#!/bin/sh\n'''exec' \"no end\n")
    assert [item.path for item in scripts.misled(venv, "venv", "python")] == ["bin/tool"]
    assert list(scripts.misled(venv, "system", "python")) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("VIRTUAL_ENV='/old place'", "/old place"),
        ("    export VIRTUAL_ENV=/old", "/old"),
        ('VIRTUAL_ENV="$(dirname x)"', None),
        ("VIRTUAL_ENV=", None),
    ],
)
def test_where_activation_leads(tmp_path: Path, line: str, said: str | None) -> None:
    venv = forge_venv(tmp_path / "env")
    assert scripts.recorded_prefix(venv, "venv", "") is None
    (venv / "bin" / "activate").write_text(f"deactivate () {{\n}}\n{line}\n")
    assert scripts.recorded_prefix(venv, "venv", "") == said
    (venv / "bin" / "activate").unlink()
    assert scripts.recorded_prefix(venv, "venv", "") is None


def test_where_condas_python_says_that_it_lies(tmp_path: Path) -> None:
    config = tmp_path / "lib" / "pkgconfig" / "python-3.11.pc"
    config.parent.mkdir(parents=True)
    for text, said in (
        ("prefix=/old/env\n", "/old/env"),
        (f"prefix={tmp_path}\n", None),
        ("prefix=${pcfiledir}/../..\n", None),
        ("prefix=/home/conda/feedstock_root/_h_env_placehold\n", None),
    ):
        config.write_text(text)
        assert scripts.recorded_prefix(tmp_path, "conda", "3.11.9") == said
    assert scripts.recorded_prefix(tmp_path, "conda", "") is None


# --- caches ---------------------------------------------------------------------------------


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    folder = tmp_path / "pkgs" / "a-1-0"
    (folder / "info").mkdir(parents=True)
    (folder / "info" / "index.json").write_text("{}")
    (folder / "x.py").write_text("x = 1\n")
    entry = {"_path": "x.py", "path_type": "hardlink", "size_in_bytes": 6, "sha256": "0" * 64}
    link = {"_path": "y", "path_type": "softlink", "size_in_bytes": 3}
    (folder / "y").symlink_to("x.py")
    paths = {"paths": [entry, link], "paths_version": 1}
    (folder / "info" / "paths.json").write_text(json.dumps(paths))
    return folder


def damage(folder: Path, **how: bool) -> list[str]:
    return [line for item in cache_facts.damaged([str(folder)], **how) for line in item.problems]


def test_a_whole_package(unpacked: Path) -> None:
    assert damage(unpacked) == []
    assert damage(unpacked, hashes=True) == ["x.py: other content"]


def test_a_package_of_before_manifests(unpacked: Path) -> None:
    (unpacked / "info" / "paths.json").unlink()
    assert damage(unpacked) == []


@pytest.mark.parametrize("size", [3, 5, 7])
def test_an_archive_beside_it(unpacked: Path, size: int) -> None:
    archive = unpacked.with_name("a-1-0.conda")
    archive.write_bytes(b"x" * size)
    assert damage(unpacked) == []
    record = unpacked / "info" / "repodata_record.json"
    record.write_text(json.dumps({"fn": archive.name, "size": 5}))
    assert damage(unpacked) == (["a-1-0.conda: 3 of 5 bytes"] if size < 5 else [])


def test_what_is_being_unpacked_is_left_alone(unpacked: Path) -> None:
    (unpacked / "x.py").unlink()
    with unpacked.with_name("a-1-0.lock").open("wb") as lock:
        assert damage(unpacked) == ["x.py: gone"]
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert damage(unpacked) == []


def test_what_is_left_on_a_disk(tmp_path: Path) -> None:
    disk = disk_of(tmp_path)
    assert disk is not None
    assert disk.free_bytes > 0
    assert disk_of(tmp_path / "none") is None
