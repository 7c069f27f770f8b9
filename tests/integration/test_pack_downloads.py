"""Archives over HTTP: broken off, gone on with, lied about, behind a login."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fakes.installing import make_settings

from envforge.adapters.pack.download import Downloads, Stopped
from envforge.adapters.pip_settings import PipSettings
from envforge.errors import CorruptArchive, FileNotUsable, Unreachable

DATA = bytes(range(256)) * 4000
SHA = hashlib.sha256(DATA).hexdigest()


@dataclass
class Server:
    """Answers every path with the same bytes, as it is told to."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    """One for each request, first; then 200."""
    cut: list[int] = field(default_factory=list)
    """Bytes of each answer after which the line breaks."""
    ranges: bool = True
    data: bytes = DATA
    login: str = ""
    asked: list[str] = field(default_factory=list)
    """The `Range` of each request."""
    told: list[str] = field(default_factory=list)
    """The `Authorization` of each request."""


@contextmanager
def serve(state: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.asked.append(wanted)
            state.told.append(self.headers.get("Authorization", ""))
            status = state.statuses.pop(0) if state.statuses else 200
            if (
                state.login
                and state.told[-1] != f"Basic {b64encode(state.login.encode()).decode()}"
            ):
                status = 401
            if status != 200:
                self.send_error(status)
                return
            found = re.fullmatch(r"bytes=(\d+)-", wanted) if state.ranges else None
            start = int(found[1]) if found else 0
            if start > len(state.data):
                self.send_error(416)
                return
            body = state.data[start:]
            self.send_response(206 if found else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut.pop(0)] if state.cut else body)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/x.conda"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(Server()) as state:
        yield state


def downloads(folder: Path, pip: PipSettings | None = None, **given: Any) -> Downloads:
    given = {"environment": {}, **given}
    return Downloads(make_settings(folder, **given), pip or PipSettings(), pause=lambda _: None)


def test_it_comes_whole_and_proven_and_only_once(server: Server, tmp_path: Path) -> None:
    first = downloads(tmp_path).fetch(server.url, SHA, tmp_path)
    again = downloads(tmp_path).fetch(server.url, SHA, tmp_path)

    assert first == again == tmp_path / SHA
    assert first.read_bytes() == DATA
    assert server.asked == [""]
    assert not list(tmp_path.glob("*.part"))


def test_where_the_line_breaks_it_goes_on(server: Server, tmp_path: Path) -> None:
    server.cut = [5000, 100_000]

    assert downloads(tmp_path).fetch(server.url, SHA, tmp_path).read_bytes() == DATA
    assert server.asked == ["", "bytes=5000-", "bytes=105000-"]


def test_what_an_earlier_run_left_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SHA}.part").write_bytes(DATA[:7000])

    downloads(tmp_path).fetch(server.url, SHA, tmp_path)

    assert server.asked == ["bytes=7000-"]


@pytest.mark.parametrize("left", [b"other" * 100, DATA + b"too much", DATA[:100] + b"?"])
def test_what_was_left_and_is_wrong_is_fetched_anew(
    server: Server, tmp_path: Path, left: bytes
) -> None:
    (tmp_path / f"{SHA}.part").write_bytes(left)

    assert downloads(tmp_path).fetch(server.url, SHA, tmp_path).read_bytes() == DATA


def test_a_server_without_ranges_sends_all_of_it_again(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cut = False, [5000]

    assert downloads(tmp_path).fetch(server.url, SHA, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path, status: int) -> None:
    server.statuses = [status] * 4
    waited: list[float] = []
    patient = replace(downloads(tmp_path), pause=waited.append)

    assert patient.fetch(server.url, SHA, tmp_path).read_bytes() == DATA
    assert waited == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (404, "not there any more"),
        (410, "not there any more"),
        (401, "asks for a login"),
        (403, "asks for a login"),
        (503, "the server failed"),
        (501, "the server failed"),
    ],
)
def test_a_server_that_refuses_is_told(
    server: Server, tmp_path: Path, status: int, why: str
) -> None:
    server.statuses = [status] * 20

    with pytest.raises(Unreachable, match=why) as caught:
        downloads(tmp_path).fetch(server.url, SHA, tmp_path)
    assert caught.value.url == server.url


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="connection refused"):
        downloads(tmp_path).fetch("http://127.0.0.1:9/x.conda", SHA, tmp_path)


def test_an_address_of_a_kind_that_nobody_reads_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no way to read"):
        downloads(tmp_path).fetch("nope://x/x.conda", SHA, tmp_path)


def test_other_bytes_are_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    server.data = b"<!doctype html>"

    with pytest.raises(CorruptArchive) as caught:
        downloads(tmp_path).fetch(server.url, SHA, tmp_path)
    assert caught.value.expected == f"sha256 {SHA}"
    assert list(tmp_path.iterdir()) == []


def test_asked_to_end_it_ends_and_keeps_what_came(server: Server, tmp_path: Path) -> None:
    ending = downloads(tmp_path)
    ending.stop.set()
    with pytest.raises(Stopped):
        ending.fetch(server.url, SHA, tmp_path)

    going = downloads(tmp_path)
    server.cut = [3000]
    stopping = replace(going, pause=lambda _: going.stop.set())
    with pytest.raises(Stopped):
        stopping.fetch(server.url, SHA, tmp_path)
    assert (tmp_path / f"{SHA}.part").stat().st_size == 3000


def test_a_full_disk_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SHA}.part").mkdir()

    with pytest.raises(FileNotUsable):
        downloads(tmp_path).fetch(server.url, SHA, tmp_path)


# --- logins ---------------------------------------------------------------------------------


def netrc_of(folder: Path) -> Path:
    path = folder / "home" / ".netrc"
    path.parent.mkdir()
    path.write_text("machine 127.0.0.1 login me password s3cret\n")
    path.chmod(0o600)
    return path


def test_the_addresss_own_login_is_used_and_told_to_nobody(server: Server, tmp_path: Path) -> None:
    server.login = "me:s3cret"
    address = server.url.replace("//", "//me:s3cret@")

    downloads(tmp_path).fetch(address, SHA, tmp_path)

    server.statuses = [404]
    with pytest.raises(Unreachable) as caught:
        downloads(tmp_path).fetch(address, "0" * 64, tmp_path)
    assert "s3cret" not in f"{caught.value!r} {caught.value} {caught.value.hint}"


@pytest.mark.parametrize("by_variable", [False, True])
def test_netrc_is_used(server: Server, tmp_path: Path, by_variable: bool) -> None:
    server.login = "me:s3cret"
    path = netrc_of(tmp_path)
    environment = {}
    if by_variable:
        environment = {"NETRC": str(path.rename(tmp_path / "netrc"))}

    downloads(tmp_path, environment=environment).fetch(server.url, SHA, tmp_path)

    assert len(server.told) == 1


def test_a_netrc_that_cannot_be_read_is_none(server: Server, tmp_path: Path) -> None:
    netrc_of(tmp_path).write_text("machine machine\n")

    downloads(tmp_path).fetch(server.url, SHA, tmp_path)


def test_the_login_of_pips_index_is_for_its_host_alone(server: Server, tmp_path: Path) -> None:
    server.login = "me:s3cret"
    index = server.url.replace("//", "//me:s3cret@").replace("x.conda", "simple")

    downloads(tmp_path, PipSettings(extra_index_urls=(index,))).fetch(server.url, SHA, tmp_path)
    with serve(Server()) as other:
        pip = PipSettings(index_url=index)
        downloads(tmp_path / "b", pip).fetch(other.url, SHA, made(tmp_path / "b"))
        assert other.told == [""]


def test_a_login_is_not_carried_to_where_a_server_sends_us(server: Server, tmp_path: Path) -> None:
    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", server.url.replace("127.0.0.1", "localhost"))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    first = ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    thread = threading.Thread(target=first.serve_forever, args=(0.02,))
    thread.start()
    try:
        address = f"http://me:s3cret@127.0.0.1:{first.server_address[1]}/x.conda"
        downloads(tmp_path).fetch(address, SHA, tmp_path)
    finally:
        first.shutdown()
        first.server_close()
        thread.join()
    assert server.told == [""]


def test_what_rattler_knows_opens_where_we_are_not_let_in(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its store of logins, as `rattler auth login` fills it."""
    stored = tmp_path / "logins.json"
    stored.write_text('{"127.0.0.1": {"BasicHTTP": {"username": "me", "password": "s3cret"}}}')
    monkeypatch.setenv("RATTLER_AUTH_FILE", str(stored))
    server.login = "me:s3cret"

    assert downloads(tmp_path).fetch(server.url, SHA, tmp_path).read_bytes() == DATA
    assert "s3cret" not in os.fsdecode(b"".join(p.name.encode() for p in tmp_path.iterdir()))


def test_proxies_of_conda_pip_and_the_environment(server: Server, tmp_path: Path) -> None:
    from envforge.model.settings import CondaSettings

    proxy = server.url.removesuffix("/x.conda")
    ways: list[tuple[PipSettings, dict[str, Any]]] = [
        (PipSettings(), {"conda": CondaSettings(proxy_servers={"http": proxy})}),
        (PipSettings(proxy=proxy), {}),
        (PipSettings(), {"environment": {"HTTP_PROXY": proxy}}),
    ]
    for number, (pip, given) in enumerate(ways):
        place = made(tmp_path / str(number))
        asked = len(server.asked)
        downloads(place, pip, **given).fetch("http://channel.invalid/x.conda", SHA, place)
        assert len(server.asked) == asked + 1


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder
