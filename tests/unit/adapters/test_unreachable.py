"""rattler's words become a sentence and a remedy; the words are those of 0.28."""

from __future__ import annotations

from pathlib import Path

import pytest

from envforge.adapters.unreachable import explain_gateway, names_an_address
from envforge.model.settings import Settings
from envforge.model.solving import Channel

HERE = Path("/nowhere")
SETTINGS = Settings(
    home=HERE,
    envs_folder=HERE,
    prefixes=HERE,
    package_cache=HERE,
    cache=HERE,
    store=HERE,
    views=HERE,
    timeout=7,
)
CHANNELS = (Channel(name="c", url="https://host/c", mirror="https://u:secret@mirror/c"),)
URL = "https://host/c/linux-64/repodata.json"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (f"no usable repodata cache for {URL}", "we are offline"),
        ("could not find subdir 'noarch' in channel 'https://host/c/'", "no such channel"),
        (f"HTTP status client error (410 Gone) for url ({URL})", "no such channel"),
        (f"HTTP status client error (403 Forbidden) for url ({URL})", "a login (403 Forbidden)"),
        (f"HTTP status server error (503 Service Unavailable) for url ({URL})", "failed (503"),
        (
            (
                f"error sending request for url ({URL})\nCaused by: client error (Connect)\n"
                "Caused by: invalid peer certificate: UnknownIssuer"
            ),
            "certificate is not trusted (invalid peer certificate: UnknownIssuer)",
        ),
        (f"error sending request for url ({URL})\nCaused by: operation timed out", "within 7 s"),
        (
            (
                f"error sending request for url ({URL})\nCaused by: dns error\n"
                "Caused by: failed to lookup address information: Name or service not known"
            ),
            "host name is not known",
        ),
        (
            (
                f"error sending request for url ({URL})\nCaused by: tcp connect error\n"
                "Caused by: Connection refused (os error 111)"
            ),
            "connection refused",
        ),
        (
            (
                f"failed to download {URL}\nCaused by: error reading a body from connection\n"
                "Caused by: end of file before message length reached"
            ),
            "broke off (end of file before message length reached)",
        ),
        (f"failed to download {URL}.zst\nCaused by: zstd stream did not finish", "or half of it"),
        (f"something new about {URL}", "something new about …"),
        ("", "no reason given"),
    ],
)
def test_kinds(message: str, reason: str) -> None:
    error = explain_gateway(message, CHANNELS, SETTINGS)
    assert reason in error.reason
    assert error.hint


def test_the_address_is_the_last_one_named_without_secrets() -> None:
    error = explain_gateway(f"{URL}x then http://u:secret@other/c)", CHANNELS, SETTINGS)
    assert error.url == "http://other/c"


def test_without_an_address_the_channels_are_named_as_they_are_read() -> None:
    assert not names_an_address("failed to parse repodata.json")
    assert explain_gateway("failed to parse", CHANNELS, SETTINGS).url == "https://mirror/c"
