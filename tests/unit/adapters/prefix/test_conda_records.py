"""conda-meta: records as each tool writes them, and what a history tells."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fakes.facts import locked
from fakes.prefix_on_disk import SITE, add_record

from envforge.adapters.prefix.conda_records import History, read_history, read_records


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    (tmp_path / "conda-meta").mkdir()
    return tmp_path


def numpy(prefix: Path, **more: Any) -> Path:
    return add_record(
        prefix,
        locked("numpy", "1.26.4"),
        {f"{SITE}/numpy-1.26.4.dist-info/METADATA": 10, f"{SITE}/numpy/a.py": 3},
        depends=["python >=3.10", "libblas"],
        subdir="linux-64",
        extracted_package_dir="/pkgs/numpy",
        md5="1" * 32,
        **more,
    )


def rewritten(path: Path, **how: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()), **how))


@pytest.mark.parametrize(
    "how",
    [{"indent": 2}, {"indent": 2, "sort_keys": True}, {"indent": 4}, {}],
    ids=["rattler", "conda", "other", "one-line"],
)
def test_the_same_facts_however_it_is_written(prefix: Path, how: dict[str, Any]) -> None:
    rewritten(numpy(prefix, link={"source": "/pkgs/numpy", "type": 1}), **how)
    found = read_records(prefix)
    [package] = found.packages
    assert (package.name, package.version, package.build) == ("numpy", "1.26.4", "h0_0")
    assert (package.sha256, found.broken) == ("0" * 64, [])
    assert found.owners == {"numpy-1.26.4.dist-info": "numpy"}
    assert found.depends == {"numpy": ("python >=3.10", "libblas")}
    assert found.unpacked == {"numpy": "/pkgs/numpy"}
    assert found.subdirs == {"numpy": "linux-64"}


@pytest.mark.parametrize(
    ("fields", "channel"),
    [
        ({"url": "https://conda.anaconda.org/conda-forge/linux-64/x.conda"}, "conda-forge"),
        ({"url": "https://repo.anaconda.com/pkgs/main/linux-64/x.conda"}, "pkgs/main"),
        ({"url": "file:///srv/mirror/conda-forge/noarch/x.conda"}, "conda-forge"),
        ({"url": "x.conda", "channel": "https://a/b/linux-64"}, "b"),
        ({"url": "", "channel": "defaults"}, "defaults"),
        ({"url": "", "channel": "conda-forge/linux-64"}, "conda-forge"),
        ({"url": 3, "channel": None}, ""),
    ],
)
def test_channels(prefix: Path, fields: dict[str, Any], channel: str) -> None:
    numpy(prefix, **fields)
    assert read_records(prefix).channels.get("numpy", "") == channel


def test_egg_infos_are_owned_too(prefix: Path) -> None:
    add_record(prefix, locked("old", "1"), {f"{SITE}/old-1-py3.10.egg-info/PKG-INFO": 1})
    add_record(prefix, locked("older", "1"), {f"{SITE}/older-1-py3.10.egg-info": 1})
    vendored = f"{SITE}/setuptools/_vendor/packaging-24.2.dist-info/METADATA"
    add_record(prefix, locked("setuptools", "80"), {vendored: 1})
    owners = read_records(prefix).owners
    assert owners == {"old-1-py3.10.egg-info": "old", "older-1-py3.10.egg-info": "older"}


def test_where_python_says_that_packages_go(prefix: Path) -> None:
    place = "lib/python3.13t/site-packages"
    add_record(prefix, locked("python", "3.13.1"), python_site_packages_path=place)
    found = read_records(prefix)
    assert (found.site, found.python) == (place, "3.13.1")


def test_libraries_of_the_large_packages(prefix: Path) -> None:
    files = {"lib/libcudnn.so.9": "x", "lib/libcudnn.so.9.py": "", "lib/other.txt": ""}
    path = add_record(prefix, locked("cudnn", "9.1"), files, placed={"lib/p.so": "y"})
    document = json.loads(path.read_text())
    document["paths_data"]["paths"].append({"_path": "lib/l.so", "path_type": "softlink"})
    path.write_text(json.dumps(document, indent=2) + "\n")
    libraries = [item for _, item in read_records(prefix).libraries]
    assert [(item.path, item.size) for item in libraries] == [
        ("lib/libcudnn.so.9", 1),
        ("lib/p.so", None),
    ]


def test_what_is_broken_is_named(prefix: Path) -> None:
    meta = prefix / "conda-meta"
    path = numpy(prefix)
    document = json.loads(path.read_text())
    (meta / "numpy-2.json").write_text(json.dumps({**document, "version": "2"}, indent=2) + "\n")
    (meta / "empty-1-0.json").write_text("")
    (meta / "folder.json").mkdir()
    (meta / "list.json").write_text("[]")
    (meta / ".hidden.json").write_text("no record")
    os.mkfifo(meta / "pipe.json")
    found = read_records(prefix)
    assert [item.name for item in found.packages] == ["numpy"]
    assert [line.partition(":")[0] for line in found.broken] == [
        "conda-meta/empty-1-0.json",
        "conda-meta/folder.json",
        "conda-meta/list.json",
        "conda-meta/numpy-2.json",
        "conda-meta/pipe.json",
    ]
    assert "it is empty" in found.broken[0]
    assert "two records of one package" in found.broken[3]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    assert read_records(tmp_path).broken == []
    (tmp_path / "conda-meta").touch()
    assert read_records(tmp_path).broken == ["conda-meta: not a directory"]


def test_history(prefix: Path) -> None:
    (prefix / "conda-meta" / "history").write_text(
        "==> 2024-01-01 10:00:00 <==\n"
        "# cmd: /opt/conda/bin/conda create -n x numpy\n"
        "+defaults/linux-64::numpy-1.26.4-py310_0\n"
        "+defaults/linux-64::old-1-0\n"
        "numpy-base-1.26.4-py310_0\n"
        "==> 2024-01-02 10:00:00 <==\n"
        "# cmd: conda update numpy -c https://x/t/SECRET/c -p /home/ada/x\n"
        "-defaults/linux-64::numpy-1.26.4-py310_0\n"
        "-defaults/linux-64::old-1-0\n"
        "+conda-forge/linux-64::numpy-2.0-py310_0\n"
        "// a line of another tool\n"
        "# update specs: ['numpy']\n"
    )
    assert read_history(prefix) == History(
        present=("numpy-base", "numpy"),
        commands=("conda create -n x numpy", "conda update numpy -c … -p …"),
    )
    assert read_history(prefix / "none") == History()
