"""A Hugging Face hub over loopback HTTP, that real clients download from; truthful or not.

    with LocalHub() as hub:
        repo = hub.add("org/name", {"config.json": "{}", "model.safetensors": weights})
        hub.faults["model.safetensors"] = Fault(cut_after=1000, times=1)
        ...  # HF_ENDPOINT=hub.url
        assert hub.payload_bytes == len(weights)

`python tests/fakes/local_hub.py DIR` serves DIR/models--org--name/… and prints its address.
It never sends `X-Xet-Hash`, since no Xet storage stands behind it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))

from fakes.hub_repos import KINDS, Blob, Commit, Content, HubRepo, from_folder

if TYPE_CHECKING:
    from typing_extensions import Self

_DATE = "2024-01-01T00:00:00.000Z"
_SLICE = 1 << 16


@dataclass
class Fault:
    """What goes wrong for a path; several at once are fine."""

    cut_after: int | None = None
    """Close the connection after so many bytes of one answer's body."""
    wrong_bytes: bool = False
    """As many bytes as told, a few in the middle changed."""
    extra_length: int = 0
    """Content-Length is told so much larger (or smaller) than the body is."""
    tree_size: int | None = None
    """The size that the tree tells of this file."""
    linked_size: int | None = None
    """The size that the headers of an LFS file tell."""
    status: int = 0
    """Answer with this, 429 or 503 for instance."""
    retry_after: float | None = None
    """Seconds, sent as `Retry-After`."""
    delay: float = 0.0
    """Seconds before anything is answered."""
    chunk_delay: float = 0.0
    """Seconds before every 64 KiB of the body."""
    redirect: Literal["", "same-host", "bare", "other-host"] = ""
    """302 to an address that repeats the headers; that does not; that lies on another host."""
    missing: bool = False
    no_range: bool = False
    """A `Range` is ignored: 200 and the whole file."""
    no_commit: bool = False
    """`X-Repo-Commit` is left out, as some mirrors do."""
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    times: int = -1
    """For so many requests; below zero: for all."""


@dataclass(frozen=True)
class Request:
    """One line of the log. Tokens are not kept, only whether one came."""

    method: str
    path: str
    query: str
    range: str
    with_token: bool
    agent: str
    host: str


@dataclass
class LocalHub:
    """A hub; a context manager that serves it, in threads of this process."""

    repos: dict[tuple[str, str], HubRepo] = field(default_factory=dict)
    """By kind and id."""
    tokens: dict[str, frozenset[str]] = field(default_factory=dict)
    """Which private and gated repositories the bearer of each token may read."""
    faults: dict[str, Fault] = field(default_factory=dict)
    """By the end of a request's path (`model.safetensors`), or an `fnmatch` pattern of it."""
    moved: dict[str, str] = field(default_factory=dict)
    """Repositories that have another name now: answered by 307."""
    page: int = 1000
    """Entries in one page of a tree."""
    url: str = ""
    log: list[Request] = field(default_factory=list)
    payload_bytes: int = 0
    """Bytes of files that were sent."""
    port: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, repo_id: str, files: Mapping[str, Content], **about: Any) -> HubRepo:
        """A repository with one commit on `main`; `about` are fields of `HubRepo`."""
        repo = HubRepo(id=repo_id, **about)
        repo.commit(files)
        self.repos[repo.kind, repo.id] = repo
        return repo

    def add_folder(self, folder: Path, repo_id: str, **about: Any) -> HubRepo:
        """The files below a folder; they are read when they are asked for."""
        return self.add(repo_id, from_folder(folder), **about)

    def rename(self, old: str, new: str) -> None:
        """`old` answers with a redirect to `new`, as `bert-base-uncased` does."""
        self.moved[old] = new

    def count(self, suffix: str = "", method: str = "GET") -> int:
        """How many requests of one method were made for paths that end so."""
        with self._lock:
            return sum(one.method == method and one.path.endswith(suffix) for one in self.log)

    def forget(self) -> None:
        """Empty the log and the counter."""
        with self._lock:
            self.log.clear()
            self.payload_bytes = 0

    def fault(self, path: str, method: str) -> Fault:
        """What goes wrong with this request; counts it."""
        with self._lock:
            for name, one in self.faults.items():
                matches = path.endswith(name) or fnmatchcase(path, name)
                if matches and method in one.methods and one.times:
                    one.times -= one.times > 0
                    return one
        return Fault()

    def tree_size(self, path: str, size: int) -> int:
        told = (one.tree_size for name, one in self.faults.items() if path.endswith(name))
        return next((number for number in told if number is not None), size)

    def record(self, request: Request) -> None:
        with self._lock:
            self.log.append(request)

    def sent(self, number: int) -> None:
        with self._lock:
            self.payload_bytes += number

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else fails loudly."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str, commit: str = "") -> None:
        self.status, self.code, self.message, self.commit = status, code, message, commit


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Quiet: the hub keeps a log of its own."""

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path, errors="surrogateescape")
        self.query = parse_qs(parts.query)
        self.form = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self._record(path, parts.query)
        fault = self.hub.fault(path, self.command)
        time.sleep(fault.delay)
        try:
            self._check_status(fault, path)
            self._route([unquote(one, errors="surrogateescape") for one in _split(parts)], fault)
        except _Refused as refused:
            self._refuse(refused, fault)

    def _record(self, path: str, query: str) -> None:
        self.hub.record(
            Request(
                method=self.command,
                path=path,
                query=query,
                range=self.headers.get("Range", ""),
                with_token="Authorization" in self.headers,
                agent=self.headers.get("User-Agent", ""),
                host=self.headers.get("Host", "").partition(":")[0],
            )
        )

    def _check_status(self, fault: Fault, path: str) -> None:
        if fault.status:
            raise _Refused(fault.status, "", "it was told to")
        if fault.missing and "/resolve/" not in path:
            raise _Refused(404, "", "it was told to")

    # Routes

    def _route(self, parts: list[str], fault: Fault) -> None:
        if parts[:2] == ["api", "whoami-v2"]:
            self._whoami()
        elif parts[0] == "api" and len(parts) > 2 and parts[1] in KINDS:
            self._api(KINDS[parts[1]], parts[2:])
        elif parts[0] == "cdn":
            self._send_file(self._commit_of(parts[1]).tree["/".join(parts[2:])], fault, {})
        elif "resolve" in parts:
            self._resolve(parts, fault)
        else:
            raise _Refused(404, "", "no such page")

    def _whoami(self) -> None:
        if self._token() is None:
            raise _Refused(401, "", "Invalid username or password.")
        self._send_json({"type": "user", "name": "someone", "fullname": "Someone", "orgs": []})

    def _api(self, kind: str, parts: list[str]) -> None:
        words = ("revision", "tree", "refs", "commits", "paths-info", "auth-check")
        at = next((n for n, part in enumerate(parts) if n and part in words), len(parts))
        repo = self._repo(kind, "/".join(parts[:at]))
        rest = parts[at:]
        if rest[:1] == ["refs"]:
            self._send_json(_refs(repo))
            return
        commit = self._commit(repo, rest[1] if len(rest) > 1 else "main")
        if rest[:1] == ["tree"]:
            self._tree(repo, commit, "/".join(rest[2:]))
        elif rest[:1] == ["paths-info"]:
            wanted = parse_qs(self.form).get("paths", [])
            known = [path for path in commit.listing if path in wanted]
            self._send_json([self._entry(repo, commit, path) for path in known])
        elif rest[:1] == ["commits"]:
            self._send_json(list(_history(repo, commit)))
        else:
            self._send_json(_info(repo, commit, blobs="blobs" in self.query))

    def _tree(self, repo: HubRepo, commit: Commit, below: str) -> None:
        prefix = f"{below}/" if below else ""
        paths: Sequence[str] = commit.listing
        if prefix:
            paths = [one for one in paths if one.startswith(prefix)]
        if self.query.get("recursive", ["false"])[0].lower() not in {"true", "1"}:
            paths = [one for one in paths if "/" not in one[len(prefix) :]]
        start = int(self.query.get("cursor", ["0"])[0])
        stop = start + self.hub.page
        entries = [self._entry(repo, commit, path) for path in paths[start:stop]]
        headers = {}
        if stop < len(paths):
            others = "".join(f"&{k}={quote(v[0])}" for k, v in self.query.items() if k != "cursor")
            path = urlsplit(self.path).path
            headers["Link"] = f'<{self.hub.url}{path}?cursor={stop}{others}>; rel="next"'
        else:
            entries += repo.raw_tree
        self._send_json(entries, headers)

    def _entry(self, repo: HubRepo, commit: Commit, path: str) -> dict[str, Any]:
        blob = commit.tree.get(path)
        if blob is None:
            return {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}
        entry = _entry(path, blob, self.hub.tree_size(path, blob.size), xet=repo.xet)
        if self.query.get("expand", ["false"])[0].lower() == "true":
            entry["lastCommit"] = {"id": commit.sha, "title": commit.title, "date": _DATE}
        return entry

    def _resolve(self, parts: list[str], fault: Fault) -> None:
        at = parts.index("resolve")
        kind = KINDS.get(parts[0], "model")
        repo = self._repo(kind, "/".join(parts[parts[0] in KINDS : at]))
        commit, path = self._commit(repo, parts[at + 1]), "/".join(parts[at + 2 :])
        blob = commit.tree.get(path)
        if blob is None or fault.missing:
            raise _Refused(404, "EntryNotFound", "Entry not found", commit.sha)
        headers = {} if fault.no_commit else {"X-Repo-Commit": commit.sha}
        if blob.lfs:
            size = blob.size if fault.linked_size is None else fault.linked_size
            headers |= {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(size)}
        if fault.redirect and "moved" not in self.query:
            self._redirect_file(commit, path, headers, fault)
        else:
            again = self.query.get("moved") == ["bare"]
            self._send_file(blob, fault, {} if again else headers)

    def _redirect_file(
        self, commit: Commit, path: str, headers: dict[str, str], fault: Fault
    ) -> None:
        where = f"{urlsplit(self.path).path}?moved={fault.redirect}"
        if fault.redirect == "other-host":
            where = f"http://localhost:{self.hub.port}/cdn/{commit.sha}/{quote(path)}"
        if fault.redirect == "bare":
            headers = {}
        etag = commit.tree[path].etag
        self._head(302, 0, headers | {"Location": where, "ETag": f'"{etag}"'})

    # Who may read what

    def _token(self) -> frozenset[str] | None:
        """What the bearer may read besides the public; None: nobody came."""
        given = self.headers.get("Authorization", "")
        if not given:
            return None
        grants = self.hub.tokens.get(given.removeprefix("Bearer "))
        if grants is None:
            raise _Refused(401, "", "Invalid credentials in Authorization header")
        return grants

    def _repo(self, kind: str, repo_id: str) -> HubRepo:
        grants = self._token()
        if repo_id in self.hub.moved:
            raise _Refused(
                307, "", quote(self.path.replace(repo_id, self.hub.moved[repo_id], 1), safe="/?=&%")
            )
        repo = self.hub.repos.get((kind, repo_id))
        granted = repo_id in (grants or ())
        if repo is None or (repo.private and not granted):
            # As huggingface.co: whoever shows no token cannot tell private from absent.
            if grants is None:
                # (The code is sent too: huggingface_hub knows a bare 401 at https addresses only.)
                raise _Refused(401, "RepoNotFound", "Invalid username or password.")
            raise _Refused(404, "RepoNotFound", "Repository not found")
        about_files = "/resolve/" in self.path or self.path.endswith("/auth-check")
        if repo.gated and not granted and about_files:
            status = 401 if grants is None else 403
            raise _Refused(status, "GatedRepo", f"Access to model {repo_id} is restricted.")
        return repo

    def _commit(self, repo: HubRepo, revision: str) -> Commit:
        commit = repo.resolve(revision)
        if commit is None:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _commit_of(self, sha: str) -> Commit:
        return next(one.commits[sha] for one in self.hub.repos.values() if sha in one.commits)

    # Answers

    def _refuse(self, refused: _Refused, fault: Fault) -> None:
        headers = {"X-Error-Message": refused.message}
        if refused.code:
            headers["X-Error-Code"] = refused.code
        if refused.commit and not fault.no_commit:
            headers["X-Repo-Commit"] = refused.commit
        if fault.retry_after is not None:
            headers["Retry-After"] = f"{fault.retry_after:g}"
        if refused.status == 307:
            headers = {"Location": refused.message}
        body = json.dumps({"error": refused.message}).encode()
        self._head(refused.status, len(body), headers | {"Content-Type": "application/json"})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_json(self, document: Any, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self._head(200, len(body), {"Content-Type": "application/json", **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send_file(self, blob: Blob, fault: Fault, headers: Mapping[str, str]) -> None:
        start, stop = (0, blob.size) if fault.no_range else self._range(blob.size)
        headers = {**headers, "ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
        if start >= blob.size > 0:
            self._head(416, 0, {**headers, "Content-Range": f"bytes */{blob.size}"})
            return
        partial = (start, stop) != (0, blob.size)
        if partial:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
        self._head(206 if partial else 200, stop - start + fault.extra_length, headers)
        if self.command == "GET":
            self._send_body(blob, fault, start, stop)

    def _range(self, size: int) -> tuple[int, int]:
        first, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if not first:
            return max(0, size - int(last)) if last else 0, size
        return int(first), min(int(last) + 1, size) if last else size

    def _send_body(self, blob: Blob, fault: Fault, start: int, stop: int) -> None:
        plain = not (fault.wrong_bytes or fault.chunk_delay or fault.cut_after is not None)
        if plain and isinstance(blob.content, Path) and stop > start:
            with blob.content.open("rb") as file, self._counted(stop - start):
                self.connection.sendfile(file, start, stop - start)
        else:
            end = stop if fault.cut_after is None else min(stop, start + fault.cut_after)
            for piece in _pieces(blob, start, end, wrong=fault.wrong_bytes):
                time.sleep(fault.chunk_delay)
                with self._counted(len(piece)):
                    self.wfile.write(piece)
        if fault.extra_length or fault.cut_after is not None:
            self.close_connection = True

    @contextmanager
    def _counted(self, number: int) -> Iterator[None]:
        """Bytes count before they go: a test may look as soon as they have come."""
        self.hub.sent(number)
        try:
            yield
        except OSError:
            self.hub.sent(-number)
            raise

    def handle(self) -> None:
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


def _split(parts: Any) -> list[str]:
    return str(parts.path).lstrip("/").split("/")


def _pieces(blob: Blob, start: int, stop: int, *, wrong: bool) -> Iterator[bytes]:
    """The body in small pieces; with `wrong`, the byte in the file's middle is another."""
    middle = blob.size // 2
    for chunk in blob.chunks(start, stop):
        for at in range(0, len(chunk), _SLICE):
            piece = chunk[at : at + _SLICE]
            here = middle - start
            if wrong and 0 <= here < len(piece):
                piece = piece[:here] + bytes([piece[here] ^ 255]) + piece[here + 1 :]
            start += len(piece)
            yield piece


def _entry(path: str, blob: Blob, size: int, *, xet: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": blob.oid}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, **_lfs(blob, size)}
        if xet:
            entry["xetHash"] = blob.xet
    return entry


def _lfs(blob: Blob, size: int) -> dict[str, int]:
    return {"size": size, "pointerSize": len(blob.pointer)}


def _info(repo: HubRepo, commit: Commit, *, blobs: bool) -> dict[str, Any]:
    siblings: Iterable[dict[str, Any]] = ({"rfilename": path} for path in commit.tree)
    if blobs:
        siblings = (
            {"rfilename": path, "size": blob.size, "blobId": blob.oid}
            | ({"lfs": {"sha256": blob.sha256, **_lfs(blob, blob.size)}} if blob.lfs else {})
            for path, blob in commit.tree.items()
        )
    return {
        "_id": commit.sha[:24],
        "id": repo.id,
        "modelId": repo.id,
        "sha": commit.sha,
        "private": repo.private,
        "gated": "manual" if repo.gated else False,
        "disabled": False,
        "downloads": 0,  # huggingface_hub 0.23 fails without these two
        "likes": 0,
        "tags": [],
        "lastModified": _DATE,
        "createdAt": _DATE,
        "siblings": list(siblings),
    }


def _refs(repo: HubRepo) -> dict[str, Any]:
    def listed(kind: str, names: Mapping[str, str]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha}
            for name, sha in names.items()
        ]

    return {
        "branches": listed("heads", repo.branches),
        "tags": listed("tags", repo.tags),
        "converts": [],
    }


def _history(repo: HubRepo, commit: Commit | None) -> Iterator[dict[str, Any]]:
    while commit is not None:
        yield {"id": commit.sha, "title": commit.title, "message": "", "authors": [], "date": _DATE}
        commit = repo.commits.get(commit.parent)


def folder_of_repos(root: Path, hub: LocalHub) -> None:
    """Add every `models--org--name/` (files straight inside) below a folder."""
    for folder in sorted(one for one in root.iterdir() if one.is_dir()):
        kinds, *name = folder.name.split("--")
        if kinds in KINDS and name:
            hub.add_folder(folder, "/".join(name), kind=KINDS[kinds])


def main(arguments: list[str]) -> None:
    """Serve a folder until interrupted."""
    with LocalHub(port=int(arguments[1]) if len(arguments) > 1 else 0) as hub:
        folder_of_repos(Path(arguments[0]), hub)
        sys.stdout.write(f"{hub.url}\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
