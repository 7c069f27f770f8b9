"""Serves a folder over loopback HTTP, truthfully or with one fault a path."""

from __future__ import annotations

import threading
import time
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
    requests: Counter[str] = field(default_factory=Counter)

    def fault(self, path: str) -> Fault | None:
        return next((kind for tail, kind in self.faults.items() if path.endswith(tail)), None)

    def count(self, suffix: str) -> int:
        """How many requests were made for paths that end so."""
        return sum(number for path, number in self.requests.items() if path.endswith(suffix))


@contextmanager
def serve(root: Path) -> Iterator[ChannelServer]:
    """Serve `root` until the block ends."""
    state = ChannelServer(root=root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
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
        target = self.state.root / path.lstrip("/")
        if not target.is_file():
            self._send(404, b"not found", body=body)
            return
        self._send_file(target.read_bytes(), fault, body=body)

    def _known(self) -> bool:
        import base64

        if self.state.password is None:
            return True
        wanted = "Basic " + base64.b64encode(self.state.password.encode()).decode()
        return self.headers.get("Authorization") == wanted

    def _send_file(self, data: bytes, fault: Fault | None, *, body: bool) -> None:
        if fault == "html":
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
