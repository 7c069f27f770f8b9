"""Live conda environments, read as somebody else's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.conda_solver import package
from fakes.prefix_on_disk import SITE, add_record, add_wheel, forge_prefix

from envforge.adapters.prefix_source import read_source
from envforge.errors import FileNotUsable, InvalidFile
from envforge.formats.conda.conda_spec import format_dependency

HISTORY = """\
==> 2024-01-01 10:00:00 <==
# cmd: conda create -n x python=3.10 numpy
# update specs: ['python=3.10', "numpy[version='>=1.20']", 'gone', 'conda-forge::scipy']
==> 2024-01-02 10:00:00 <==
# cmd: conda remove scipy
# remove specs: ['scipy']
==> 2024-01-03 10:00:00 <==
# update specs: zlib, strange!spec
"""


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    root = forge_prefix(tmp_path / "mine", (package("python", "3.10.1"),))
    add_record(
        root, package("numpy", "1.26.4"), md5="a" * 32, depends=["python >= 3.9", "libblas 3.9 mkl"]
    )
    add_record(root, package("zlib", "1"), subdir="linux-64")
    add_record(root, package("scipy", "1.11", channel="own"))
    return root


def test_every_package_is_there_with_its_edges_and_hashes(prefix: Path) -> None:
    add_wheel(prefix, "accelerate", "0.20", requires=["torch (>=2.0)", "rich ; extra == 'x'"])
    environment = read_source(prefix)

    assert environment.name == "mine"
    assert environment.lock is not None
    assert environment.platforms == ("linux-64",)
    found = {item.name: item for item in environment.lock.packages}
    assert list(found) == ["accelerate", "numpy", "python", "scipy", "zlib"]
    assert found["numpy"].depends == ("python >=3.9", "libblas 3.9 mkl")
    assert (found["numpy"].md5, len(found["numpy"].sha256)) == ("a" * 32, 64)
    assert found["accelerate"].depends == ("torch >=2.0",)
    assert environment.channels == (
        "https://conda.anaconda.org/conda-forge",
        "https://conda.anaconda.org/own",
    )


def test_what_was_asked_for_stands_in_the_history(prefix: Path) -> None:
    (prefix / "conda-meta" / "history").write_text(HISTORY)
    environment = read_source(prefix)

    assert list(map(format_dependency, environment.dependencies)) == [
        "python=3.10",
        "numpy>=1.20",
        "zlib",
    ]


def test_editable_and_local_wheels_are_flagged(prefix: Path) -> None:
    own = add_wheel(prefix, "own", "1")
    (own / "direct_url.json").write_text(
        json.dumps({"url": "file:///srv/own", "dir_info": {"editable": True}})
    )
    forked = add_wheel(prefix, "forked", "2")
    (forked / "direct_url.json").write_text(
        json.dumps({"url": "https://git.example/x", "vcs_info": {"vcs": "git", "commit_id": "1"}})
    )
    direct = add_wheel(prefix, "direct", "3")
    (direct / "direct_url.json").write_text(
        json.dumps({"url": "https://f.example/direct-3-py3-none-any.whl", "archive_info": {}})
    )
    environment = read_source(prefix)

    assert environment.local == ("forked", "own")
    assert "`own` is an editable install of a folder" in environment.notes
    assert "`forked` was installed from a folder, a repository or a file" in environment.notes
    assert [format_dependency(item) for item in environment.dependencies] == [
        "direct @ https://f.example/direct-3-py3-none-any.whl"
    ]


def test_wheels_that_were_asked_for_are_marked_else_told_by_their_edges(prefix: Path) -> None:
    add_wheel(prefix, "pip", "24")
    add_wheel(prefix, "a", "1", requires=["b"])
    add_wheel(prefix, "b", "2")
    assert [item.name for item in read_source(prefix).dependencies] == ["a"]

    (prefix / SITE / "b-2.dist-info" / "REQUESTED").touch()
    assert [item.name for item in read_source(prefix).dependencies] == ["b"]


def test_pins_variables_and_damage_are_told(prefix: Path) -> None:
    (prefix / "conda-meta" / "pinned").write_text("# mine\nnumpy <2\n\n")
    (prefix / "conda-meta" / "state").write_text('{"env_vars": {"A": "b"}}')
    (prefix / "conda-meta" / "half.json").write_text("{")
    environment = read_source(prefix)

    assert environment.variables == {"A": "b"}
    assert "conda's pins: numpy <2" in environment.notes
    assert any("half.json" in note for note in environment.notes)


def test_what_holds_no_record_is_none(tmp_path: Path) -> None:
    (tmp_path / "conda-meta").mkdir()
    with pytest.raises(InvalidFile, match="holds no package record"):
        read_source(tmp_path)


def test_a_history_that_may_not_be_read_is_told(prefix: Path) -> None:
    (prefix / "conda-meta" / "history").symlink_to(prefix / "conda-meta" / "history")
    with pytest.raises(FileNotUsable):
        read_source(prefix)
