"""Addresses that locks hold."""

from __future__ import annotations

import pytest

from envforge.adapters.rattler_specs import canonical
from envforge.model.solving import Channel

CHANNEL = Channel(
    name="site", url="https://conda.example/site", mirror="https://me:secret@mirror.example/site"
)


@pytest.mark.parametrize(
    ("served", "kept"),
    [
        (
            "https://me:secret@mirror.example/site/noarch/a-1-0.conda",
            "https://conda.example/site/noarch/a-1-0.conda",
        ),
        (
            "https://me:secret@files.example/t/TOKEN/site/noarch/a-1-0.conda",
            "https://files.example/site/noarch/a-1-0.conda",
        ),
        ("file:///srv/site/noarch/a-1-0.conda", "file:///srv/site/noarch/a-1-0.conda"),
    ],
)
def test_no_address_keeps_credentials(served: str, kept: str) -> None:
    """Nor one that the channel's metadata led to, elsewhere than the channel itself."""
    assert canonical(served, [CHANNEL]) == kept
