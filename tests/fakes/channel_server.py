"""Serves a folder over loopback HTTP, truthfully or with one fault a path."""

from __future__ import annotations

import re
import ssl
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

Fault = Literal[
    "404", "500", "truncated", "wrong-bytes", "html", "slow", "slow-head", "refuse", "401"
]


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    authorization: str
    range: str
    at: float
    """Seconds of the monotonic clock."""


@dataclass
class ChannelServer:
    """A running server; set `faults[".conda"] = "500"` to break every path that ends so."""

    root: Path
    url: str = ""
    faults: dict[str, Fault] = field(default_factory=dict)
    delay: float = 0.2
    """Seconds between the chunks of a `slow` answer."""
    password: str | None = None
    """`user:secret`: asked for by basic authentication."""
    bearer: str | None = None
    """A token: asked for as `Authorization: Bearer`."""
    token: str | None = None
    """Everything lies below `/t/TOKEN` only, as conda's own servers have it."""
    busy: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """What paths that end so are answered first, one a request: a status and its `Retry-After`."""
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """Bytes after which answers for paths that end so break off, one a request."""
    moved: dict[str, str] = field(default_factory=dict)
    """A path to the address that who asks for it is sent to."""
    ranges: bool = True
    """Whether `Range: bytes=N-` is understood."""
    requests: Counter[str] = field(default_factory=Counter)
    """By path, whatever the method; of a proxy, by the whole address that it was asked for."""
    asked: list[Asked] = field(default_factory=list)
    """Every request, in order."""

    def fault(self, path: str) -> Fault | None:
        return next((kind for tail, kind in self.faults.items() if path.endswith(tail)), None)

    def count(self, suffix: str) -> int:
        """How many requests were made for paths that end so."""
        return sum(number for path, number in self.requests.items() if path.endswith(suffix))


@contextmanager
def serve(root: Path, tls: ssl.SSLContext | None = None) -> Iterator[ChannelServer]:
    """Serve `root` until the block ends; who asks it as a proxy gets `root/HOST/PATH`."""
    state = ChannelServer(root=root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    state.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: ChannelServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        """Quiet: pytest shows what matters."""

    def _answer(self, *, body: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        self.state.requests[path] += 1
        self._note(path)
        if self._is_busy(path, body=body):
            return
        if path in self.state.moved:
            self.send_response(302)
            self.send_header("Location", self.state.moved[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        fault = self.state.fault(path)
        if fault == "refuse":
            self.close_connection = True
            return
        if fault in {"401", "404", "500"}:
            self._send(int(fault), b"no", body=body)
            return
        if not self._known():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="channel"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        target = self._target(path)
        if target is None or not target.is_file():
            self._send(404, b"not found", body=body)
            return
        self._send_file(path, target.read_bytes(), fault, body=body)

    def _note(self, path: str) -> None:
        self.state.asked.append(
            Asked(
                method=self.command,
                path=path,
                authorization=self.headers.get("Authorization", ""),
                range=self.headers.get("Range", ""),
                at=time.monotonic(),
            )
        )

    def _is_busy(self, path: str, *, body: bool) -> bool:
        """Whether the answer was: later."""
        queues = (queue for tail, queue in self.state.busy.items() if path.endswith(tail) and queue)
        queue = next(queues, None)
        if queue is None:
            return False
        status, after = queue.pop(0)
        self.send_response(status)
        if after:
            self.send_header("Retry-After", after)
        self.send_header("Content-Length", "5" if body else "0")
        self.end_headers()
        if body:
            self.wfile.write(b"later")
        return True

    def _target(self, path: str) -> Path | None:
        """The file; None: it must not be shown to who asks so."""
        if "://" in path:
            return self.state.root / path.partition("://")[2]
        if self.state.token is None:
            return self.state.root / path.lstrip("/")
        before, found, after = path.partition(f"/t/{self.state.token}/")
        return self.state.root / before.lstrip("/") / after if found else None

    def _known(self) -> bool:
        sent = self.headers.get("Authorization")
        if self.state.bearer is not None:
            return sent == f"Bearer {self.state.bearer}"
        if self.state.password is None:
            return True
        return sent == "Basic " + b64encode(self.state.password.encode()).decode()

    def _send_file(self, path: str, data: bytes, fault: Fault | None, *, body: bool) -> None:
        cuts = next((cut for tail, cut in self.state.cuts.items() if path.endswith(tail)), [])
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found and self.state.ranges:
            self._send_rest(data, int(found[1]), cuts, body=body)
        elif cuts and body:
            self._send(200, data[: cuts.pop(0)], length=len(data), body=True)
            self.close_connection = True
        elif fault == "html":
            self._send(200, b"<!doctype html><title>Log in</title>", body=body)
        elif fault == "wrong-bytes":
            middle = len(data) // 2
            self._send(200, data[:middle] + b"\0\1\2\3" + data[middle + 4 :], body=body)
        elif fault == "truncated":
            self._send(200, data[: len(data) // 2], length=len(data), body=body)
            self.close_connection = True
        elif fault == "slow-head":
            time.sleep(self.state.delay)
            self._send(200, data, body=body)
        elif fault == "slow":
            self._head(200, len(data))
            step = max(1, len(data) // 20)
            for start in range(0, len(data), step):
                self.wfile.write(data[start : start + step])
                self.wfile.flush()
                time.sleep(self.state.delay)
        else:
            self._send(200, data, body=body)

    def _send_rest(self, data: bytes, start: int, cuts: list[int], *, body: bool) -> None:
        if start >= len(data):
            self._send(416, b"", body=False)
            return
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            end = start + cuts.pop(0) if cuts else len(data)
            self.close_connection = end < len(data)
            self.wfile.write(data[start:end])

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, status: int, data: bytes, *, body: bool, length: int | None = None) -> None:
        self._head(status, len(data) if length is None else length)
        if body:
            self.wfile.write(data)

    def handle(self) -> None:
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
