"""The treemap, drawn by the real matplotlib."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from fakes.command_line import run_envforge
from fakes.model_store import StoreWorld

from envforge.adapters.plot_usage import write_treemap
from envforge.cache.treemap import Share
from envforge.errors import FileNotUsable, InvalidValue

pytest.importorskip("matplotlib")

GB = 10**9
SHARES = (
    Share(users=("a", "b", "c", "d"), repo="o/large", part="shared", bytes=900 * GB),
    Share(users=("a", "/home/b/hub/"), repo="o/$m_1$", part="shared", bytes=5000 * GB),
    Share(users=("a",), repo=os.fsdecode(b"o/\xff\x1b[0m"), part="own", bytes=200 * GB),
    Share(users=("a",), repo="o/" + "long" * 40, part="own", bytes=90 * GB),
    *(Share(users=("b",), repo=f"o/{i}", part="own", bytes=i + 1) for i in range(5, 0, -1)),
    Share(users=(), repo="(unused)", part="reclaimable", bytes=20 * GB),
)


def test_svg_is_well_formed_and_the_same_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    write_treemap(SHARES, first, "5.0 TB in $3 files")
    write_treemap(SHARES, second, "5.0 TB in $3 files")
    assert first.read_bytes() == second.read_bytes()
    ET.parse(first)  # noqa: S314 - our own file
    text = first.read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    # own and unused are told by hatching as well, shared by having none
    assert len(set(re.findall(r'<pattern id="(\w+)"', text))) == 2


def test_png(tmp_path: Path) -> None:
    path = tmp_path / "a.PNG"
    write_treemap(SHARES, path, "title")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_nothing_to_draw(tmp_path: Path) -> None:
    write_treemap((), tmp_path / "a.svg", "nothing")
    ET.parse(tmp_path / "a.svg")  # noqa: S314 - our own file


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotUsable):
        write_treemap(SHARES, tmp_path / "no" / "a.svg", "title")
    with pytest.raises(InvalidValue, match="suffix"):
        write_treemap(SHARES, tmp_path / "a.pdf", "title")


def test_the_command(tmp_path: Path) -> None:
    world = StoreWorld(tmp_path)
    world.view("e", "o/m", {"w": world.file(b"w" * 9000)})
    world.file(b"u")
    path = tmp_path / "usage.svg"
    done = run_envforge("cache", "scan", "--plot", str(path), "--store", str(world.store.root))
    assert done.status == 0
    assert done.err.splitlines()[-1] == f"wrote {path}"
    ET.parse(path)  # noqa: S314 - our own file
