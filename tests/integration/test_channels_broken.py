"""Channels that are down, slow, half there or something else: each with its own clear error."""

from __future__ import annotations

import http.server
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes.channel_server import ChannelServer, serve

from envforge.adapters import patience, rattler_client
from envforge.adapters.channels import resolve_channels
from envforge.adapters.rattler_solver import RattlerSolver
from envforge.errors import Unreachable
from envforge.model.settings import CondaSettings, Settings
from envforge.model.solving import Channel, CondaProblem, CondaSolution
from envforge.model.spec import Dependency

REPODATA = (
    '{"info": {"subdir": "SUBDIR"}, "packages": {}, "packages.conda": {'
    '"alpha-1.0-h0_0.conda": {"name": "alpha", "version": "1.0", "build": "h0_0",'
    ' "build_number": 0, "depends": [], "subdir": "SUBDIR", "md5": "' + "0" * 32 + '",'
    ' "sha256": "' + "0" * 64 + '"}}}'
)


@pytest.fixture(autouse=True)
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying again takes seconds; `test_private_networks` looks at that."""
    monkeypatch.setattr(rattler_client, "_RETRIES", 0)
    monkeypatch.setattr(patience, "_PAUSES", ())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChannelServer]:
    """One channel, `ch`, without compression and shards."""
    for subdir in ("linux-64", "noarch"):
        folder = tmp_path / "root" / "ch" / subdir
        folder.mkdir(parents=True)
        text = REPODATA if subdir == "linux-64" else '{"packages": {}, "packages.conda": {}}'
        (folder / "repodata.json").write_text(text.replace("SUBDIR", subdir))
    with serve(tmp_path / "root") as started:
        yield started


def settings(tmp_path: Path, **changes: Any) -> Settings:
    here = dict.fromkeys(
        ("home", "envs_folder", "prefixes", "package_cache", "store", "views"), tmp_path
    )
    return Settings(**(here | {"cache": tmp_path / "cache", "timeout": 5.0} | changes))


def solve(given: Settings, *names: str) -> CondaSolution:
    problem = CondaProblem(
        platform="linux-64",
        channels=resolve_channels(names, given),
        dependencies=(Dependency(name="alpha"),),
    )
    [answer] = RattlerSolver(given).solve([problem])
    assert isinstance(answer, CondaSolution), answer
    return answer


def refused(given: Settings, *names: str) -> Unreachable:
    with pytest.raises(Unreachable) as error:
        solve(given, *names)
    assert error.value.hint
    return error.value


def test_it_works_when_nothing_is_wrong(server: ChannelServer, tmp_path: Path) -> None:
    found = solve(settings(tmp_path), f"{server.url}/ch")
    assert found.packages[0].url == f"{server.url}/ch/linux-64/alpha-1.0-h0_0.conda"


def test_down(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    error = refused(settings(tmp_path), f"http://127.0.0.1:{port}/ch")
    assert "nothing answers there" in str(error)
    assert f"127.0.0.1:{port}" in error.url


def test_a_host_that_does_not_exist(tmp_path: Path) -> None:
    error = refused(settings(tmp_path), "http://no-such-host.invalid/ch")
    assert "not known here" in str(error)


def test_no_such_channel(server: ChannelServer, tmp_path: Path) -> None:
    error = refused(settings(tmp_path), f"{server.url}/hc")
    assert "there is no such channel" in str(error)
    assert f"{server.url}/hc" in error.url
    assert "spelling" in (error.hint or "")


def test_a_failing_server(server: ChannelServer, tmp_path: Path) -> None:
    server.faults[""] = "500"
    assert "the server failed (500" in str(refused(settings(tmp_path), f"{server.url}/ch"))


def test_html_in_place_of_metadata(server: ChannelServer, tmp_path: Path) -> None:
    """A login page of the network, for every file or for the last one."""
    for fault in ("repodata.json", ""):
        (server.root / "ch" / "linux-64" / "repodata_shards.msgpack.zst").write_bytes(b"x")
        server.faults = {fault: "html"}
        error = refused(settings(tmp_path), f"{server.url}/ch")
        assert "no channel metadata, or half of it" in str(error)
        assert "login page" in (error.hint or "")


@pytest.mark.parametrize("text", [REPODATA[:120], "[1, 2]", "null", ""])
def test_half_of_the_metadata(server: ChannelServer, tmp_path: Path, text: str) -> None:
    """Complete to HTTP, and not to JSON."""
    (server.root / "ch" / "linux-64" / "repodata.json").write_text(text)
    error = refused(settings(tmp_path), f"{server.url}/ch")
    assert "no channel metadata, or half of it" in str(error)
    assert error.url == f"{server.url}/ch"
    mended = REPODATA.replace("SUBDIR", "linux-64")
    (server.root / "ch" / "linux-64" / "repodata.json").write_text(mended)
    assert solve(settings(tmp_path), f"{server.url}/ch").packages  # no bad copy was kept


def test_half_of_the_compressed_metadata(server: ChannelServer, tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.ZstdCompressor().compress(REPODATA.encode())
    (server.root / "ch" / "linux-64" / "repodata.json.zst").write_bytes(packed[:-20])
    error = refused(settings(tmp_path), f"{server.url}/ch")
    assert "no channel metadata, or half of it" in str(error)


def test_a_download_that_breaks_off(server: ChannelServer, tmp_path: Path) -> None:
    server.faults["linux-64/repodata.json"] = "truncated"
    error = refused(settings(tmp_path), f"{server.url}/ch")
    assert "the download broke off" in str(error)


def test_a_connection_that_is_closed(server: ChannelServer, tmp_path: Path) -> None:
    server.faults[""] = "refuse"
    error = refused(settings(tmp_path), f"{server.url}/ch")
    assert "the download broke off" in str(error)


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    """It is given up after the time that the settings allow, and not before."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/ch"
        error = refused(settings(tmp_path, timeout=1.0), address)
    assert "no complete answer within 1 s" in str(error)


def test_a_protocol_nobody_speaks(tmp_path: Path) -> None:
    error = refused(settings(tmp_path), "ftp://host/ch")
    assert "ftp" in str(error)


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class _Guarded(_Silent):
    """Lets in who sends `joe:secret`."""

    def send_head(self) -> Any:
        if self.headers.get("Authorization") == "Basic am9lOnNlY3JldA==":
            return super().send_head()
        self.send_error(401)
        return None


@contextmanager
def running(
    handler: type[_Silent], root: Path, *, tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Serve a folder on the port that is given."""
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(root)))
    made.daemon_threads = True
    if tls is not None:
        made.socket = tls.wrap_socket(made.socket, server_side=True)
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield made.server_port
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("where", ["user", "netrc"])
def test_logins(
    server: ChannelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """In the address or in ~/.netrc; and nothing of them in what is written down."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login joe password secret\n")
    netrc.chmod(0o600)
    if where == "netrc":
        monkeypatch.setenv("NETRC", str(netrc))
    with running(_Guarded, server.root) as port:
        user = "joe:secret@" if where == "user" else ""
        found = solve(settings(tmp_path), f"http://{user}127.0.0.1:{port}/ch")
    assert found.packages[0].url == f"http://127.0.0.1:{port}/ch/linux-64/alpha-1.0-h0_0.conda"
    assert "secret" not in repr(found)


def test_a_token_in_the_address(server: ChannelServer, tmp_path: Path) -> None:
    shutil.copytree(server.root / "ch", server.root / "t" / "tk-secret" / "ch")
    shutil.rmtree(server.root / "ch")
    found = solve(settings(tmp_path), f"{server.url}/t/tk-secret/ch")
    assert found.packages[0].url == f"{server.url}/ch/linux-64/alpha-1.0-h0_0.conda"
    assert "secret" not in repr(found)


@pytest.mark.parametrize("user", ["", "joe:hidden@"])
def test_a_login_that_is_missing_or_wrong(server: ChannelServer, tmp_path: Path, user: str) -> None:
    """The address in the message is without the password that was tried."""
    with running(_Guarded, server.root) as port:
        error = refused(settings(tmp_path), f"http://{user}127.0.0.1:{port}/ch")
    assert "it asks for a login (401" in str(error)
    assert "netrc" in (error.hint or "")
    assert "hidden" not in f"{error} {error.hint} {error!r}"


def test_a_proxy_from_condarc(server: ChannelServer, tmp_path: Path) -> None:
    """Where it is down, that is what cannot be reached."""
    conda = CondaSettings(proxy_servers={"http": "http://127.0.0.1:9"})
    error = refused(settings(tmp_path, conda=conda), "http://channel.example/ch")
    assert "nothing answers there" in str(error)


@pytest.fixture
def secure(server: ChannelServer, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The channel over TLS, with a certificate of an authority that nobody knows."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    authority = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "leaf.pem", tmp_path / "leaf.key")
    with running(_Silent, server.root, tls=context) as port:
        yield f"https://127.0.0.1:{port}/ch", authority


def _certificate(folder: Path) -> Path:
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    request = "req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1"
    sign = "x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext"
    for command in (
        f"{request} -x509 -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE",
        f"{request} -keyout leaf.key -out leaf.csr",
        f"{sign} -in leaf.csr -out leaf.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder / "ca.pem"


def test_certificates(
    secure: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown: refused. Known by `ssl_verify` or the usual variables: good. Not checked: good."""
    address, authority = secure
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    error = refused(settings(tmp_path), address)
    assert "certificate is not trusted" in str(error)
    assert "ssl_verify" in (error.hint or "")
    for found in (
        settings(tmp_path, conda=CondaSettings(ssl_verify=str(authority))),
        settings(tmp_path, conda=CondaSettings(ssl_verify=False)),
        settings(tmp_path, environment={"REQUESTS_CA_BUNDLE": str(authority)}),
    ):
        assert solve(found, address).packages[0].name == "alpha"
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert solve(settings(tmp_path), address).packages[0].name == "alpha"
    other = settings(tmp_path, conda=CondaSettings(ssl_verify=str(tmp_path / "leaf.csr")))
    refused(other, address)


def test_certificates_where_a_login_is_put_in(secure: tuple[str, Path], tmp_path: Path) -> None:
    """Another client of rattler's does that, which must trust, and distrust, the same."""
    address, authority = secure
    alias = address.removesuffix("/ch").replace("//", "//joe:secret@")
    error = refused(settings(tmp_path, conda=CondaSettings(channel_alias=alias)), "ch")
    assert "certificate is not trusted" in str(error)
    assert "secret" not in f"{error} {error.hint} {error!r}"
    trusting = CondaSettings(channel_alias=alias, ssl_verify=str(authority))
    assert solve(settings(tmp_path, conda=trusting), "ch").packages[0].name == "alpha"


def test_one_bad_channel_among_good_ones_is_the_one_named(
    server: ChannelServer, tmp_path: Path
) -> None:
    shutil.copytree(server.root / "ch", server.root / "bad")
    (server.root / "bad" / "linux-64" / "repodata.json").write_text("{")
    found = settings(tmp_path, mirror=server.url)
    problem = CondaProblem(
        platform="linux-64",
        channels=(
            Channel(name="ch", url="https://host/ch", mirror=f"{server.url}/ch"),
            Channel(name="bad", url="https://host/bad", mirror=f"{server.url}/bad"),
        ),
        dependencies=(Dependency(name="alpha"),),
    )
    with pytest.raises(Unreachable) as error:
        RattlerSolver(found).solve([problem])
    assert error.value.url == f"{server.url}/bad"
