"""How messages count things."""

from __future__ import annotations

import pytest

from envforge.model.wording import counted, listed


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, "file", "0 files"),
        (1, "view", "1 view"),
        (2, "small file", "2 small files"),
        (61204, "file", "61,204 files"),
        (2, "library", "2 libraries"),
        (3, "copy", "3 copies"),
        (2, "key", "2 keys"),
    ],
)
def test_counting(number: int, noun: str, said: str) -> None:
    assert counted(number, noun) == said


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), ""),
        (("a",), "`a`"),
        (("a", "b"), "`a`, `b`"),
        (("a", "b", "c"), "`a`, `b` and 1 more"),
        (("a", *("b" * 2000)), "`a`, `b` and 1,999 more"),
    ],
)
def test_listing(names: tuple[str, ...], said: str) -> None:
    assert listed(names, 2, quote="`") == said
