"""Channels, indexes and the hub, over loopback: answering, silent and refusing."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from email.message import Message
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
from fakes.channel_server import ChannelServer, serve
from fakes.installing import make_settings

from envforge.adapters.pip_settings import PipSettings
from envforge.adapters.server import network
from envforge.adapters.server.network import Asking
from envforge.around.server.server_facts import Address
from envforge.model.settings import CondaSettings, Settings


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChannelServer]:
    """conda-forge, and nvidia in compressed form only; `/` is not found, as on mirrors of hubs."""
    for name in ("conda-forge/noarch/repodata.json", "nvidia/noarch/repodata.json.zst"):
        path = tmp_path / "www" / name
        path.parent.mkdir(parents=True)
        path.touch()
    with serve(tmp_path / "www") as running:
        yield running


def settings(tmp_path: Path, server: ChannelServer, **given: Any) -> Settings:
    environment = {"HF_ENDPOINT": server.url, **given.pop("environment", {})}
    about = {"mirror": server.url, "wheel_index": f"{server.url}/whl", **given}
    return make_settings(tmp_path, environment=environment, **about)


def ask(
    found: Settings, pip: PipSettings | None = None, *, offline: str = ""
) -> dict[str, Address]:
    answers = Asking(found, pip or PipSettings(no_index=True), offline=offline).answers()
    return {item.name: item for item in answers}


def test_what_answers_tells_the_time(tmp_path: Path, server: ChannelServer) -> None:
    found = ask(settings(tmp_path, server))

    assert {name: item.state for name, item in found.items()} == {
        "conda-forge": "answers",
        "pytorch": "missing",
        "nvidia": "answers",  # where it has `.zst` only
        "of torch": "missing",
        "hub": "answers",
    }
    assert found["conda-forge"].url == f"{server.url}/conda-forge"
    assert found["pytorch"].reason == "not found (404)"
    assert found["pytorch"].optional
    for name in ("conda-forge", "pytorch", "hub"):
        ahead = found[name].clock_ahead
        assert ahead is not None
        assert abs(ahead) < 5
    assert (found["conda-forge"].milliseconds or 0) > 0


@pytest.mark.parametrize(
    ("fault", "state", "reason"),
    [
        ("401", "refuses", "it asks for a login (401)"),
        ("500", "fails", "the server has an error (500)"),
    ],
)
def test_what_refuses_or_fails(
    tmp_path: Path, server: ChannelServer, fault: Any, state: str, reason: str
) -> None:
    server.faults["conda-forge/noarch/repodata.json"] = fault

    found = ask(settings(tmp_path, server))["conda-forge"]

    assert (found.state, found.reason) == (state, reason)


def test_a_server_that_is_not_there(tmp_path: Path, server: ChannelServer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    gone = settings(tmp_path, server, mirror=f"http://127.0.0.1:{port}")

    found = ask(gone)["conda-forge"]

    assert (found.state, found.reason) == ("silent", "connection refused")
    assert found.clock_ahead is None


def test_who_never_answers_is_left_behind(
    tmp_path: Path, server: ChannelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that does not resolve hangs longer than a time limit reaches."""
    monkeypatch.setattr(network, "WAIT", -1.6)
    answered = threading.Event()
    monkeypatch.setattr(Asking, "_asked", lambda *_: answered.wait(20))

    found = ask(settings(tmp_path, server))  # would fail on what is no answer, 20 s later

    answered.set()
    assert found["hub"].state == "silent"
    assert found["hub"].reason.startswith("no answer within")


@pytest.mark.parametrize(
    ("code", "state", "reason", "cause"),
    [
        (403, "refuses", "it, or something on the way, forbids it (403)", "forbidden"),
        (429, "fails", "too many requests from here (429)", "busy"),
        (503, "fails", "the server has an error (503)", ""),
    ],
)
def test_what_has_a_remedy_of_its_own(code: int, state: str, reason: str, cause: str) -> None:
    error = HTTPError("http://x", code, "no", Message(), None)

    found = network._refused(Address(name="x", kind="hub", url="http://x"), error, 0.0)

    assert (found.state, found.reason, found.cause) == (state, reason, cause)


@pytest.mark.parametrize(
    ("code", "cause"), [(9, "validity"), (10, "validity"), (19, "certificate")]
)
def test_a_certificate_that_is_not_trusted(code: int, cause: str) -> None:
    """Somebody opens the line on its way, or this machine's clock is wrong."""
    inner = ssl.SSLCertVerificationError(1, "[SSL] certificate verify failed")
    inner.verify_code, inner.verify_message = code, "self-signed certificate in chain"

    found = network._silent(Address(name="x", kind="hub", url="https://x"), URLError(inner))

    assert (found.state, found.cause) == ("refuses", cause)
    assert found.reason == "self-signed certificate in chain"


def test_a_proxy_that_asks_for_a_login_is_told_apart() -> None:
    headers = Message()
    headers["Date"] = formatdate(time.time() + 1000, usegmt=True)
    error = HTTPError("http://x", 407, "no", headers, None)

    found = network._refused(Address(name="x", kind="channel", url="http://x"), error, 0.0)

    assert (found.state, found.reason) == ("refuses", "a proxy asks for a login (407)")
    assert found.clock_ahead == pytest.approx(1000, abs=3)
    error.close()


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Foo 2026"])
def test_a_server_that_tells_no_time(date: str) -> None:
    assert network._ahead(date) is None


def test_offline_nothing_is_asked(tmp_path: Path, server: ChannelServer) -> None:
    found = ask(settings(tmp_path, server), offline="--offline")

    assert {item.state for item in found.values()} == {"offline"}
    assert found["conda-forge"].reason == "we are offline (`--offline`)"
    assert server.requests == {}


def test_an_offline_hub_is_the_hubs_own_matter(tmp_path: Path, server: ChannelServer) -> None:
    found = ask(settings(tmp_path, server, environment={"HF_HUB_OFFLINE": "1"}))

    assert found["hub"].state == "offline"
    assert "HF_HUB_OFFLINE=1" in found["hub"].reason
    assert found["conda-forge"].state == "answers"


def test_pips_indexes_and_folders_are_asked(tmp_path: Path, server: ChannelServer) -> None:
    """With the login that they are configured with, which is not shown."""
    (tmp_path / "www/simple").mkdir()
    server.password = "ann:secret"  # noqa: S105 - its fake one
    host = server.url.removeprefix("http://")
    pip = PipSettings(
        index_url=f"http://ann:secret@{host}/simple",
        find_links=(str(tmp_path), str(tmp_path / "none")),
    )

    found = ask(settings(tmp_path, server), pip)

    first, there, gone = (found[f"{number} of pip's"] for number in (1, 2, 3))
    assert first.url == f"{server.url}/simple"
    login = f"Basic {b64encode(b'ann:secret').decode()}"
    assert {item.authorization for item in server.asked if item.path == "/simple/"} == {login}
    assert (there.state, gone.state, gone.reason) == (
        "answers",
        "missing",
        "there is no such folder",
    )
    assert "secret" not in repr(found)


def test_channels_of_the_site_are_asked_too(tmp_path: Path, server: ChannelServer) -> None:
    conda = CondaSettings(channels=("conda-forge", "nodefaults", f"{server.url}/t/TOKEN/mine"))
    found = ask(replace(settings(tmp_path, server, mirror=None), conda=conda), offline="x")

    assert [name for name, item in found.items() if item.kind == "channel"][3:] != []
    assert "TOKEN" not in "".join(item.url for item in found.values())


def test_a_channel_that_cannot_be_is_told(tmp_path: Path, server: ChannelServer) -> None:
    conda = CondaSettings(channels=(str(tmp_path / "no-channel"),))

    found = ask(replace(settings(tmp_path, server), conda=conda))[str(tmp_path / "no-channel")]

    assert found.state == "missing"
    assert found.reason


def test_a_hub_without_an_address(tmp_path: Path, server: ChannelServer) -> None:
    found = ask(settings(tmp_path, server, environment={"HF_ENDPOINT": "nonsense"}))["hub"]

    assert found.state == "missing"
    assert "HF_ENDPOINT" in found.reason


@pytest.mark.parametrize(
    ("named", "shown"),
    [("auto", f"{network.PYTORCH_WHEELS}/cpu"), ("site", None), ("pytorch", None)],
)
def test_where_torchs_wheels_are(
    tmp_path: Path, server: ChannelServer, named: str, shown: str | None
) -> None:
    found = ask(settings(tmp_path, server, wheel_index=named), offline="x").get("of torch")

    if named == "site":
        assert found is None
    else:
        assert found is not None
        assert found.optional is (named == "auto")
        assert shown is None or found.url == shown


def test_a_server_that_knows_no_head(
    tmp_path: Path, server: ChannelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    opened = network.Web.open

    def without_head(self: Any, address: str, *, method: str = "GET", **given: Any) -> Any:
        asked.append(method)
        if method == "HEAD":
            raise HTTPError(address, 405, "no", Message(), None)
        return opened(self, address, method=method, **given)

    monkeypatch.setattr(network.Web, "open", without_head)

    assert ask(settings(tmp_path, server))["conda-forge"].state == "answers"
    assert {"HEAD", "GET"} <= set(asked)
