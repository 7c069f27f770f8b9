"""The hub through the site's proxy, and with the certificates that conda is told to trust."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.channel_server import ChannelServer, serve

COMMIT = "0123456789" * 4
PROGRAM = """
import os, pathlib
from envforge.adapters.hub.client import HubClient
from envforge.adapters.settings import load_settings
from envforge.errors import Unreachable
from envforge.model.models import Repo
client = HubClient(load_settings(os.environ, pathlib.Path.cwd()))
try:
    print(client._commit(Repo(id="a/b"), "main"))
except Unreachable as error:
    print(error)
"""


def answered(folder: Path, condarc: str, **variables: str) -> str:
    """What a process of its own is told: clients are made once a process."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    (home / ".condarc").write_text(condarc)
    left_out = ("ssl_", "requests_", "curl_", "http", "no_proxy", "all_proxy", "hf_")
    kept = {key: value for key, value in os.environ.items() if not key.lower().startswith(left_out)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**kept, "HOME": str(home), **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def publish(root: Path) -> None:
    path = root / "api" / "models" / "a" / "b" / "revision" / "main"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"id": "a/b", "sha": COMMIT, "siblings": []}))


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[ChannelServer, Path]]:
    """A hub over TLS, with a certificate of an authority that nobody knows."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    publish(tmp_path / "hub")
    (tmp_path / "ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    request = "req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1"
    sign = "x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext"
    for command in (
        f"{request} -x509 -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE",
        f"{request} -keyout leaf.key -out leaf.csr",
        f"{sign} -in leaf.csr -out leaf.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "leaf.pem", tmp_path / "leaf.key")
    with serve(tmp_path / "hub", context) as server:
        yield server, tmp_path / "ca.pem"


def test_certificates(secure: tuple[ChannelServer, Path], tmp_path: Path) -> None:
    server, authority = secure
    hub = {"HF_ENDPOINT": server.url}
    assert "certificate" in answered(tmp_path, "", **hub)
    assert answered(tmp_path, f"ssl_verify: {authority}", **hub) == COMMIT
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        assert answered(tmp_path, "", **{name: str(authority)}, **hub) == COMMIT


def test_proxies(tmp_path: Path) -> None:
    publish(tmp_path / "root" / "hub.invalid")
    with serve(tmp_path / "root") as server:
        hub = {"HF_ENDPOINT": "http://hub.invalid"}
        assert answered(tmp_path, "", HTTP_PROXY=server.url, **hub) == COMMIT
        assert answered(tmp_path, f"proxy_servers: {{http: '{server.url}'}}", **hub) == COMMIT
