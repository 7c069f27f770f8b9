"""Tiny wheels that are real to every installer, and a simple index to serve them from."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_EPOCH = (2020, 1, 1, 0, 0, 0)


def build_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    tag: str = "py3-none-any",
    requires: Iterable[str] = (),
    requires_python: str = "",
    modules: Mapping[str, str] | None = None,
    scripts: Mapping[str, str] | None = None,
) -> Path:
    """Write one wheel; equal arguments give equal bytes.

    Without `modules` it holds one package of the wheel's name with a `__version__`.
    """
    stem = name.replace("-", "_").replace(".", "_")
    files = dict(modules or {f"{stem}/__init__.py": f'__version__ = "{version}"\n'})
    info = f"{stem}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Python: {requires_python}"] if requires_python else []
    lines += [f"Requires-Dist: {item}" for item in requires]
    files[f"{info}/METADATA"] = "\n".join(lines) + "\n"
    pure = "true" if tag.endswith("none-any") else "false"
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"
    )
    if scripts:
        entries = "".join(f"{key} = {value}\n" for key, value in scripts.items())
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{entries}"
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(zipfile.ZipInfo(member, _EPOCH), text)
    return path


def _record(files: Mapping[str, str], own: str) -> str:
    rows = []
    for member, text in files.items():
        data = text.encode()
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{member},sha256={digest},{len(data)}\n")
    return "".join(rows) + f"{own},,\n"


def sha256(path: Path) -> str:
    """The hash a lock must hold for this file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_index(folder: Path, wheels: Iterable[Path], *, hashes: bool = True) -> Path:
    """Write a PEP 503 index over wheels that lie below `folder`; returns `folder/simple`."""
    simple = folder / "simple"
    by_name: dict[str, list[Path]] = {}
    for wheel in wheels:
        by_name.setdefault(wheel.name.partition("-")[0].replace("_", "-"), []).append(wheel)
    for name, paths in by_name.items():
        page = simple / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        links = []
        for path in paths:
            href = os.path.relpath(path, page.parent).replace("+", "%2B")
            fragment = f"#sha256={sha256(path)}" if hashes else ""
            links.append(f'<a href="{href}{fragment}">{path.name}</a><br>')
        page.write_text("<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>")
    return simple


@dataclass
class Served:
    """A folder over loopback HTTP, with the faults that tests want."""

    address: str
    failing: dict[str, int] = field(default_factory=dict)
    """Part of a path to the status it is answered with."""
    replaced: dict[str, bytes] = field(default_factory=dict)
    """Part of a path to other bytes: a login page, a damaged archive."""
    credentials: str | None = None
    """`user:password` that every request must carry."""
    documents: dict[str, str] = field(default_factory=dict)
    """Path to a page of PEP 691, which unlike HTML can say when a file was uploaded."""
    requests: list[str] = field(default_factory=list)
    """Paths asked for, in order."""


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args: object, served: Served, **kwargs: object) -> None:
        self._served = served
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        self._served.requests.append(getattr(self, "path", ""))

    def do_GET(self) -> None:
        fault = next((v for key, v in self._served.failing.items() if key in self.path), None)
        body = next((v for key, v in self._served.replaced.items() if key in self.path), None)
        if not self._allowed():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif fault is not None:
            self.send_error(fault)
        elif self.path in self._served.documents:
            self._send(
                self._served.documents[self.path].encode(), "application/vnd.pypi.simple.v1+json"
            )
        elif body is not None:
            self._send(body, "text/html")
        else:
            super().do_GET()

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _allowed(self) -> bool:
        if self._served.credentials is None:
            return True
        token = base64.b64encode(self._served.credentials.encode()).decode()
        return self.headers.get("Authorization") == f"Basic {token}"


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """Serve a folder on a free port of 127.0.0.1 until the block ends."""
    served = Served(address="")
    handler = partial(_Handler, served=served, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        served.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
