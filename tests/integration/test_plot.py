"""The heatmap, drawn by the real matplotlib."""

from __future__ import annotations

import builtins
import re
import struct
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from envforge.adapters.plot import write_heatmap
from envforge.errors import FileNotUsable, InvalidValue, ToolMissing
from envforge.matrix import Grid, described, grid, load

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def judged() -> Grid:
    matrix = load()
    return grid(matrix, described("535.104.05", ["H200"], matrix))


@pytest.fixture(scope="module")
def small() -> Grid:
    return grid(load(), None, torch="2.0")


def test_svg_is_well_formed_and_the_same_each_time(judged: Grid, tmp_path: Path) -> None:
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    write_heatmap(judged, first, "title")
    write_heatmap(judged, second, "title")
    assert first.read_bytes() == second.read_bytes()
    ET.parse(first)  # noqa: S314 - our own file
    text = first.read_text(encoding="utf-8")
    assert not re.search(r"<dc:date>", text)
    assert str(tmp_path) not in text


def test_states_differ_without_colour(judged: Grid, tmp_path: Path) -> None:
    """Hatches are patterns in SVG: one for each state that is not plainly good or absent."""
    path = tmp_path / "a.svg"
    write_heatmap(judged, path, "title")
    assert len(set(re.findall(r'<pattern id="(\w+)"', path.read_text(encoding="utf-8")))) == 3


def test_png_has_a_readable_size_and_is_the_same_each_time(small: Grid, tmp_path: Path) -> None:
    path, again = tmp_path / "a.png", tmp_path / "b.PNG"
    write_heatmap(small, path, "title")
    write_heatmap(small, again, "title")
    data = path.read_bytes()
    assert data == again.read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert 800 < width < 4000
    assert 300 < height < 4000


@pytest.mark.parametrize("name", ["x.pdf", "x", "x.svg.gz"])
def test_another_suffix(name: str, small: Grid, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="suffix"):
        write_heatmap(small, tmp_path / name, "title")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written(small: Grid, tmp_path: Path) -> None:
    with pytest.raises(FileNotUsable):
        write_heatmap(small, tmp_path / "no" / "x.svg", "title")


def test_without_matplotlib(small: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ToolMissing) as caught:
        write_heatmap(small, tmp_path / "x.svg", "title")
    assert caught.value.exit_code == 7
    assert "pip install" in str(caught.value.hint)
