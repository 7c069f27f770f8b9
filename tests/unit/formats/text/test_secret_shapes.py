"""Addresses for people and logs."""

from __future__ import annotations

import pytest

from envforge.formats.text.secret_shapes import hide


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://u:pw@host/x, or", "at https://<secret>@host/x, or"),
        ("GET http://h/t/tk-1-2/ch/x.conda", "GET http://h/t/<secret>/ch/x.conda"),
        ("/t/tk-1-2/ch HTTP/1.1", "/t/<secret>/ch HTTP/1.1"),
        (
            "`https://u@host` and https://h/t/tk'",
            "`https://<secret>@host` and https://h/t/<secret>'",
        ),
        ("https://$USER:$PW@host/t/$TOKEN/ch", "https://$USER:$PW@host/t/$TOKEN/ch"),
        ("https://m/packages/t/torch/x.whl", "https://m/packages/t/torch/x.whl"),
        ("https://<secret>@host/t/<secret>/ch", "https://<secret>@host/t/<secret>/ch"),
        ("name@example.org and a/b/c", "name@example.org and a/b/c"),
    ],
)
def test_hide(text: str, shown: str) -> None:
    assert hide(text) == shown
