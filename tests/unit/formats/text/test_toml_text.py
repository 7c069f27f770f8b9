"""TOML with the place of each mistake."""

from __future__ import annotations

import pytest

from envforge.errors import InvalidFile
from envforge.formats.text import toml_text


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a = 1 2\n", "`x`: line 1, column 7: expected newline"),
        ("a = [\n1,\n", "`x`: line 3: invalid value"),
        ("a = 1\na = 2\n", "cannot overwrite a value"),
        ("a = " + "[" * 5000, "`x`: "),
    ],
)
def test_a_mistake_has_a_line(text: str, mistake: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        toml_text.parse(text, "x")

    assert mistake in str(caught.value)


def test_a_key_is_found_again() -> None:
    text = '[a]\nx = 1\n\n[b]\n"y.z" = 2\nx.c = 3\n'

    assert toml_text.line_of(text, "x") == 2
    assert toml_text.line_of(text, "x", after="[b]") == 6
    assert toml_text.line_of(text, "y.z") == 5
    assert toml_text.line_of(text, "b") == 4
    assert toml_text.line_of(text, "nowhere") == 0
