"""Where things lie, and what cannot lie anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from envforge.cache import layout
from envforge.errors import HostileRepo


def test_a_blob_lies_under_its_first_two_digits() -> None:
    assert layout.blob(Path("/s"), "ab" * 32) == Path("/s/ab") / ("ab" * 32)
    assert layout.blob(Path("/s"), "ab" * 32, 2).name == f"{'ab' * 32}.2"


@pytest.mark.parametrize(
    "path",
    ["a", "a/b.c", ".gitattributes", "..a/b..", "ä/ö", "a b", "-", "x" * 255, "a/" * 99 + "a"],
)
def test_paths_that_stay(path: str) -> None:
    assert str(layout.check_path(path, "r")) == path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "is absolute"),
        ("/etc/passwd", "is absolute"),
        ("C:/x", "is absolute"),
        ("../x", "does not stay"),
        ("a/../../x", "does not stay"),
        ("a/./x", "does not stay"),
        ("a//x", "does not stay"),
        ("a/", "does not stay"),
        ("..", "does not stay"),
        ("a\\b", "a character that no file"),
        ("a\0b", "a character that no file"),
        ("a\nb", "a character that no file"),
        ("a\x7fb", "a character that no file"),
        ("a\udcff", "another encoding"),
        ("\ud800", "another encoding"),
        ("x" * 256, "is longer than"),
        ("ä" * 128, "is longer than"),
        ("a/" * 1100 + "a", "is longer than"),
    ],
)
def test_paths_that_do_not(path: str, reason: str) -> None:
    with pytest.raises(HostileRepo, match=reason) as caught:
        layout.check_path(path, "org/name")

    assert str(caught.value).isprintable()
    assert "`ignore` in models.yml" in str(caught.value.hint)


def test_a_tree() -> None:
    layout.check_tree("r", ["a", "b/c", "b/d", "ab/c"])


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (["a", "b", "a"], "'a', which stands there twice"),
        (["a/b/c", "a/b"], "'a/b', which is a file and a folder as well"),
        (["a", "a/b"], "'a', which is a file and a folder as well"),
        (["ok", "../a"], "does not stay"),
    ],
)
def test_a_tree_that_no_disk_can_hold(paths: list[str], reason: str) -> None:
    with pytest.raises(HostileRepo, match=reason):
        layout.check_tree("r", paths)
