"""A date on the command line."""

from __future__ import annotations

import pytest

from envforge.errors import InvalidValue
from envforge.formats.text import moment


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("2024-03-01", "2024-03-01T23:59:59Z"),
        ("2024-03-01T12:00:00Z", "2024-03-01T12:00:00Z"),
        ("2024-03-01T12:00:00z", "2024-03-01T12:00:00Z"),
        ("2024-03-01T02:00:00+03:00", "2024-02-29T23:00:00Z"),
    ],
)
def test_a_date_means_one_moment_everywhere(typed: str, meant: str) -> None:
    assert moment.parse(typed) == meant


@pytest.mark.parametrize("typed", ["yesterday", "2024-13-01", "2024-03-01T12:00:00", "", "7 days"])
def test_what_is_no_moment(typed: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        moment.parse(typed)

    assert "2024-03-01" in str(caught.value.hint)
