"""Dist-infos, egg-infos and what stands in for them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fakes.prefix_on_disk import SITE, add_wheel

from envforge.adapters.prefix.distributions import (
    Distributions,
    canonical,
    hex_digest,
    read_distributions,
    record_rows,
)
from envforge.verify.facts import Distribution


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / SITE).mkdir(parents=True)
    return tmp_path / SITE


def read(site: Path, owners: dict[str, str] | None = None, **how: bool) -> Distributions:
    return read_distributions(site.parents[2], [site], owners or {}, **how)


def one(site: Path, owners: dict[str, str] | None = None) -> Distribution:
    [found] = read(site, owners).found
    return found


def test_a_wheel_in_full(site: Path) -> None:
    tag = "cp310-cp310-manylinux_2_28_aarch64"
    add_wheel(
        site.parents[2],
        "Flash-Attn",
        "2.8.0+cu12torch2.7",
        {"flash_attn/__init__.py": "", "flash_attn_cuda.cpython-310.so": "x", "bad name/x": ""},
        "uv\n",
        requires=["torch (>=2.4)", "einops; extra == 'x'"],
        tags=[tag, "py3-none-any"],
    )
    found = one(site)
    assert (found.name, found.version) == ("flash-attn", "2.8.0+cu12torch2.7")
    assert found.requires == ("torch (>=2.4)", "einops; extra == 'x'")
    assert found.tags == (tag, "py3-none-any")
    assert (found.installer, found.has_record, found.conda_owner) == ("uv", True, None)
    assert found.top_level == ("flash_attn", "flash_attn_cuda")
    assert found.folder == f"{SITE}/Flash_Attn-2.8.0+cu12torch2.7.dist-info"


def test_headers_behind_much_text_are_found(site: Path) -> None:
    folder = add_wheel(site.parents[2], "a", "1")
    classifiers = "".join(f"Classifier: {'x' * 70}\n" for _ in range(200))
    text = (
        f"Name: a\n{classifiers}Version: 1\nRequires-Python: >=3.9\nRequires-Dist: b\n\nName: c\n"
    )
    (folder / "METADATA").write_bytes(text.replace("\n", "\r\n").encode())
    found = one(site)
    assert (found.version, found.requires, found.requires_python) == ("1", ("b",), ">=3.9")


@pytest.mark.parametrize(
    ("document", "url", "editable", "digest"),
    [
        ({"url": "file:///s", "dir_info": {"editable": True}}, "file:///s", True, ""),
        ({"url": "https://x/a.whl", "archive_info": {"hashes": {"sha256": "ab"}}}, "", False, "ab"),
        ({"url": "https://x/a.whl", "archive_info": {"hash": "sha256=cd"}}, "", False, "cd"),
        (["no object"], "-", False, ""),
    ],
)
def test_where_it_came_from(
    site: Path, document: object, url: str, editable: bool, digest: str
) -> None:
    folder = add_wheel(site.parents[2], "a", "1")
    (folder / "direct_url.json").write_text(json.dumps(document))
    found = one(site)
    assert found.local_url == {"": "https://x/a.whl", "-": ""}.get(url, url)
    assert (found.editable, found.archive_sha256) == (editable, digest)


def test_what_conda_brought(site: Path) -> None:
    """The builder's own notes are no news: conda-forge's packages have a `direct_url.json`."""
    folder = add_wheel(site.parents[2], "a", "1", {"a/__init__.py": ""}, "conda")
    (folder / "direct_url.json").write_text('{"url": "file:///home/conda/feedstock_root/work"}')
    (folder / "top_level.txt").write_text("a\n_a\n")
    (folder / "RECORD").unlink()
    found = one(site, {folder.name: "py-a"})
    assert (found.conda_owner, found.local_url, found.has_record) == ("py-a", "", True)
    assert found.top_level == ("_a", "a")
    assert read(site, {folder.name: "py-a"}).broken == []


def test_egg_infos_and_links(site: Path, tmp_path: Path) -> None:
    (site / "Old_Thing-1.2-py3.10.egg-info").write_text("Name: Old-Thing\nVersion: 1.2\n")
    folder = site / "dir-0.3.egg-info"
    folder.mkdir()
    (folder / "PKG-INFO").write_text("Name: dir\nVersion: 0.3\nRequires-Dist: x\n")
    (site / "bare.egg-info").mkdir()
    source = tmp_path / "source"
    (source / "my_tool.egg-info").mkdir(parents=True)
    (source / "my_tool.egg-info" / "PKG-INFO").write_text("Name: my-tool\nVersion: 9\n")
    (site / "my-tool.egg-link").write_text(f"{source}\n.\n")
    (site / "lost.egg-link").write_text("/nowhere\n.\n")

    found = {item.name: item for item in read(site, {folder.name: "dir"}).found}

    assert {name: item.version for name, item in found.items()} == {
        "bare": "",
        "dir": "0.3",
        "lost": "",
        "my-tool": "9",
        "old-thing": "1.2",
    }
    assert found["dir"].requires == ("x",)
    assert found["dir"].conda_owner == "dir"
    assert found["my-tool"].editable
    assert found["my-tool"].local_url == f"file://{source}"


@pytest.mark.parametrize("installer", ["rpm", "conda"])
def test_installers_that_keep_no_record(site: Path, installer: str) -> None:
    folder = add_wheel(site.parents[2], "a", "1", installer=installer)
    (folder / "RECORD").unlink()
    assert read(site).broken == []
    (folder / "INSTALLER").write_text("pip\n")
    assert read(site).broken == ["a-1.dist-info: has no RECORD"]
    assert read(site, of_a_system=True).broken == []


def test_nobody_says_that_there_was_a_record(site: Path) -> None:
    folder = add_wheel(site.parents[2], "a", "1")
    (folder / "INSTALLER").unlink()
    (folder / "RECORD").write_text("")
    assert read(site).broken == []
    (folder / "RECORD").unlink()
    assert read(site).broken == []


def test_what_is_broken_is_named(site: Path) -> None:
    (site / "~ip-1.dist-info").mkdir()
    (site / "nameless.dist-info").mkdir()
    (add_wheel(site.parents[2], "a", "1") / "METADATA").write_text("Version: 1\n")
    (add_wheel(site.parents[2], "b", "1") / "METADATA").write_text("Name: b\n")
    (add_wheel(site.parents[2], "c", "1") / "RECORD").write_bytes(b"\0" * 9)
    os.mkfifo(add_wheel(site.parents[2], "d", "1") / "pipe")
    folder = add_wheel(site.parents[2], "e", "1")
    (folder / "RECORD").unlink()
    (folder / "RECORD").mkdir()
    assert read(site).broken == [
        "a-1.dist-info: its METADATA names no Name",
        "b-1.dist-info: its METADATA names no Version",
        "c-1.dist-info: its RECORD is no list of files",
        "e-1.dist-info: not a regular file",
        "nameless.dist-info: not of the form NAME-VERSION.dist-info",
        "~ip-1.dist-info: left behind by an interrupted pip",
    ]


def test_what_pip_took_out_of_a_conda_package(site: Path) -> None:
    """The rest of its dist-info is no news where pip's own stands beside it."""
    (site / "numpy-1.26.4.dist-info").mkdir()
    owners = {"numpy-1.26.4.dist-info": "numpy"}
    assert read(site, owners).broken == ["numpy-1.26.4.dist-info: has no METADATA"]
    add_wheel(site.parents[2], "numpy", "2.1.0")
    assert read(site, owners).broken == []


def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    found = read_distributions(tmp_path, [tmp_path / "none"], {})
    assert found.broken == ["none: no such file or directory"]


def test_libraries_of_the_large_wheels(site: Path) -> None:
    add_wheel(
        site.parents[2],
        "nvidia-cudnn-cu12",
        "9.1",
        {"nvidia/cudnn/lib/libcudnn.so.9": "x", "a.so.py": "", "../../../lib/b.so": 7},
    )
    libraries = {item.path: item for _, item in read(site).libraries}
    assert set(libraries) == {f"{SITE}/nvidia/cudnn/lib/libcudnn.so.9", "lib/b.so"}
    assert libraries["lib/b.so"].size == 7
    assert len(libraries[f"{SITE}/nvidia/cudnn/lib/libcudnn.so.9"].sha256) == 64


def test_rows_of_a_record() -> None:
    digest = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    text = f'a.py,sha256={digest},0\n"b, c.py",,\n__pycache__/a.pyc,,\nd,md5=x,y\nshort\n'
    assert record_rows(text.encode()) == [
        ("a.py", hex_digest(digest), 0),
        ("b, c.py", "", None),
        ("d", "", None),
        ("short", "", None),
    ]
    assert hex_digest(digest).startswith("e3b0c442")
    assert hex_digest("é") == ""
    assert record_rows(b'"' + b"x" * 200_000) == []


@pytest.mark.parametrize(
    ("name", "spelled"), [("A.b_C", "a-b-c"), ("a--b", "a-b"), ("a._-b", "a-b"), ("x", "x")]
)
def test_names(name: str, spelled: str) -> None:
    assert canonical(name) == spelled
