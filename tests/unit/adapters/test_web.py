"""Who is told which login, and how the network is reached."""

from __future__ import annotations

import json
import ssl
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from fakes.channel_server import serve
from fakes.installing import make_settings

from envforge.adapters import keyrings
from envforge.adapters.pip_settings import PipSettings
from envforge.adapters.web import Web
from envforge.errors import Unreachable
from envforge.model.settings import CondaSettings


def web(folder: Path, pip: PipSettings | None = None, **given: Any) -> Web:
    return Web(make_settings(folder, **{"environment": {}, **given}), pip or PipSettings())


def told(login: str | None) -> str | None:
    """`user:password`, or a token, of an `Authorization`."""
    if login is None:
        return None
    kind, _, rest = login.partition(" ")
    return b64decode(rest).decode() if kind == "Basic" else rest


def store(folder: Path, **logins: Any) -> dict[str, str]:
    path = folder / "logins.json"
    path.write_text(json.dumps(logins))
    return {"RATTLER_AUTH_FILE": str(path)}


def test_the_nearest_login_counts(tmp_path: Path) -> None:
    """The address's own, pip's for that host, netrc, then what rattler keeps."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine b.example login net password rc\n")
    known = {"BasicHTTP": {"username": "rat", "password": "tler"}}
    environment = store(tmp_path, **{"b.example": known, "*.c.example": {"BearerToken": "tk"}})
    pip = PipSettings(index_url="https://p%40p:q@a.example/simple")
    here = web(tmp_path, pip, environment=environment)

    assert told(here.login("https://u:x%2Fy@a.example/f")) == "u:x/y"
    assert told(here.login("https://a.example/f")) == "p@p:q"
    assert told(here.login("https://b.example/f")) == "net:rc"
    assert told(here.login("https://x.c.example/f")) == "tk"
    assert here.login("https://c.other/f") is None
    assert here.login("https://a.example:8443/f") is None


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"h.example": 3}'])
def test_a_store_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    environment = store(tmp_path)
    (tmp_path / "logins.json").write_text(text)
    assert web(tmp_path, environment=environment).login("https://h.example/f") is None


def test_the_keyring_is_asked_only_where_a_server_insists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some keyrings ask the person."""
    asked: list[str] = []

    def login(host: str) -> tuple[str, str]:
        asked.append(host)
        return "key", "ring"

    monkeypatch.setattr(keyrings, "login", login)
    (tmp_path / "f").write_text("x")
    with serve(tmp_path) as server:
        web(tmp_path).open(f"{server.url}/f").close()
        assert asked == []
        server.password = "key:ring"  # noqa: S105 - of a server that ends here
        web(tmp_path).open(f"{server.url}/f").close()
        assert set(asked) == {"127.0.0.1"}
        server.password = "another:one"  # noqa: S105
        with pytest.raises(HTTPError, match="401"):
            web(tmp_path).open(f"{server.url}/f")


def test_a_token_of_condas_is_put_into_the_path(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    environment = store(tmp_path, **{"127.0.0.1": {"CondaToken": "tk-1"}})
    with serve(tmp_path) as server:
        server.token = "tk-1"  # noqa: S105 - of a server that ends here
        web(tmp_path, environment=environment).open(f"{server.url}/f").close()
        assert [item.path for item in server.asked] == ["/t/tk-1/f"]


def test_a_redirect_keeps_the_method_and_tells_no_other_host(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with serve(tmp_path) as target, serve(tmp_path) as first:
        for goal, login in ((f"{first.url}/f", True), (f"{target.url}/f", False)):
            first.moved["/old"] = goal
            first.asked.clear()
            address = f"{first.url.replace('//', '//u:pw@')}/old"
            web(tmp_path).open(address, method="HEAD").close()
            asked = [*first.asked, *target.asked]
            assert [item.method for item in asked] == ["HEAD", "HEAD"]
            assert bool(asked[-1].authorization) is login


def test_proxies_and_what_they_are_not_for(tmp_path: Path) -> None:
    (tmp_path / "h.invalid").mkdir()
    (tmp_path / "h.invalid" / "f").write_text("x")
    (tmp_path / "f").write_text("x")
    with serve(tmp_path) as server:
        for settings in (
            {"conda": CondaSettings(proxy_servers={"http": server.url})},
            {"conda": CondaSettings(proxy_servers={"all": server.url})},
            {"environment": {"http_proxy": server.url}},
            {"environment": {"ALL_PROXY": server.url}},
        ):
            web(tmp_path, **settings).open("http://h.invalid/f").close()
            assert server.asked[-1].path == "http://h.invalid/f"
        dead = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "x.org,127.0.0.1"}
        web(tmp_path, environment=dead).open(f"{server.url}/f").close()


def test_certificates_are_condas_then_the_environments_then_pips(tmp_path: Path) -> None:
    unchecked = web(tmp_path, conda=CondaSettings(ssl_verify=False))._certificates()
    assert unchecked.verify_mode == ssl.CERT_NONE
    assert web(tmp_path)._certificates().verify_mode == ssl.CERT_REQUIRED
    wrong = tmp_path / "bundle.pem"
    wrong.write_text("no certificate")
    for broken in (
        web(tmp_path, conda=CondaSettings(ssl_verify=str(wrong))),
        web(tmp_path, environment={"REQUESTS_CA_BUNDLE": str(wrong)}),
        web(tmp_path, PipSettings(cert=str(tmp_path / "absent.pem"))),
    ):
        with pytest.raises(Unreachable, match="no certificates"):
            broken._certificates()
