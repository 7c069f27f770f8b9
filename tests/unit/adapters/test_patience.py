"""When a channel is asked again, and after how long."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.channel_server import serve
from fakes.installing import make_settings

from envforge.adapters.patience import pause


@pytest.mark.parametrize(
    ("message", "waits"),
    [
        ("HTTP status client error (429 Too Many Requests) for url (x)", True),
        ("HTTP status server error (502 Bad Gateway) for url (x)", True),
        ("error decoding response body", True),
        ("Caused by: end of file before message length reached", True),
        ("HTTP status client error (404 Not Found) for url (x)", False),
        ("HTTP status server error (500 Internal Server Error)", False),
        ("tcp connect error: Connection refused", False),
        ("dns error", False),
    ],
)
def test_only_what_may_be_better_in_a_moment(tmp_path: Path, message: str, waits: bool) -> None:
    settings = make_settings(tmp_path)
    assert (pause(message, 1, settings) is not None) is waits
    assert pause(message, 4, settings) is None


def test_the_pauses_grow(tmp_path: Path) -> None:
    found = [pause("body error", attempt, make_settings(tmp_path)) for attempt in (1, 2, 3)]
    assert found == [0.5, 2.0, 5.0]


def test_offline_nothing_is_asked_again(tmp_path: Path) -> None:
    assert pause("body error", 1, make_settings(tmp_path, offline=True)) is None


@pytest.mark.parametrize(("asked", "waits"), [("30", 30.0), ("", 0.5), ("61", None), ("soon", 0.5)])
def test_the_server_says_how_long(tmp_path: Path, asked: str, waits: float | None) -> None:
    with serve(tmp_path) as server:
        server.busy["repodata.json"] = [(503, asked)]
        message = f"error (503 Service Unavailable) for url ({server.url}/ch/repodata.json)"
        assert pause(message, 1, make_settings(tmp_path, environment={})) == waits
