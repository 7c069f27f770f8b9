from __future__ import annotations

import pytest

from envforge.formats.text import json_text


def test_a_document() -> None:
    assert json_text.parse(b'{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize("text", ["", "{", "[" * 200_000, '{"a":' * 200_000, b"\xff\xfe\x00"])
def test_what_cannot_be_read(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the reader's own words
        json_text.parse(text)
