"""How messages count things."""

from __future__ import annotations

import pytest

from envforge.model.wording import counted


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
