"""Addresses that may be written down."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.model.solving import without_credentials


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://me:secret@host/c/", "https://host/c"),
        ("https://token@host:8443/c", "https://host:8443/c"),
        ("https://host/t/tk-12-34/c", "https://host/c"),
        ("https://host/t/tk-12-34", "https://host"),
        ("https://host/c?token=secret#frag", "https://host/c"),
        ("https://host/t/", "https://host/t"),
        ("conda-forge", "conda-forge"),
        ("/srv/channel/", "/srv/channel"),
        ("file:///srv/channel", "file:///srv/channel"),
    ],
)
def test_nothing_secret_stays(given: str, kept: str) -> None:
    assert without_credentials(given) == kept


@given(user=st.text("ab:%"), host=st.text("abc", min_size=1), path=st.text("at/?#@=;"))
def test_user_and_query_never_stay(user: str, host: str, path: str) -> None:
    kept = urlsplit(without_credentials(f"https://{user}@{host}/{path}"))

    assert (kept.scheme, kept.netloc) == ("https", host)
    assert (kept.query, kept.fragment) == ("", "")
