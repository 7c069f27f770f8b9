"""Prefills in processes of their own, killed at a step or a moment; started once, asked often.

Standard input takes jobs, one JSON document a line; standard output answers each with a list, one
entry for each child: `{"signal": 9}`, `{"fetched": [files, bytes, by others], "steps": […]}` or
`{"error": "Class: sentence"}`. All that is slow to import is imported once, then forked.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub.utils._headers import build_hf_headers

from envforge.adapters.settings import load_settings
from envforge.errors import EnvforgeError
from envforge.forge.caching import prefilling  # noqa: F401
from envforge.forge.caching.front import ModelCache
from envforge.forge.workplace import Workplace

EVENTS = {
    *("os.link", "os.rename", "os.remove", "os.symlink", "os.mkdir", "os.chmod", "os.truncate"),
    "os.utime",
}
"""What Python tells before it changes a disk; writes and flushes are wrapped."""


class Steps:
    """Counts what changes the disk, and kills this process at one of them."""

    def __init__(self, store: str, kill_at: int | None, kill_at_write: int | None) -> None:
        self.store, self.kill_at, self.kill_at_write = store, kill_at, kill_at_write
        self.names: list[str] = []
        self._lock = threading.Lock()
        sys.addaudithook(self.hook)
        os.pwrite = self.wrapped("pwrite", os.pwrite)
        # A kill, unlike a power cut, loses nothing that was written: no need to wait for the disk.
        os.fsync = self.wrapped("fsync", lambda _: None)

    def wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.step(name)
            return function(*arguments)

        return call

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & os.O_CREAT and str(path).startswith(self.store):
                self.step("create")
        elif event in EVENTS:
            first = arguments[0]
            if isinstance(first, int) or os.fsdecode(
                arguments[1] if event == "os.symlink" else first
            ).startswith(self.store):
                self.step(event)

    def step(self, name: str) -> None:
        with self._lock:
            writes = self.names.count("pwrite") if name == "pwrite" else None
            if len(self.names) == self.kill_at or (writes and writes == self.kill_at_write):
                os.kill(os.getpid(), signal.SIGKILL)
            self.names.append(name)


def no_flock(kind: str) -> None:
    """As on Lustre without `-o flock`, or on filesystems where it succeeds for everybody."""

    def refuse(*_: Any) -> None:
        if kind == "absent":
            raise OSError(38, "Function not implemented")

    if kind != "works":
        fcntl.flock = refuse


def child(job: dict[str, Any], answer: int) -> None:
    no_flock(job.get("flock", "works"))
    steps = Steps(job["environ"]["ENVFORGE_STORE"], job.get("kill_at"), job.get("kill_at_write"))
    settings = load_settings(job["environ"], Path(job["environ"]["HOME"]))
    try:
        done = ModelCache(Workplace(settings=settings)).prefill(
            job["names"], jobs=job.get("jobs", 4), view=job.get("view", False)
        )
        fetched = [done.fetched.files, done.fetched.payload, done.fetched.by_others]
        said: dict[str, Any] = {"fetched": fetched, "steps": steps.names}
    except EnvforgeError as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    os.write(answer, json.dumps(said).encode())


def run(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Fork the children at once, kill them when their time has come, and gather the answers."""
    children = []
    for _ in range(job.get("children", 1)):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                child(job, writing)
            finally:
                sys.stderr.flush()
                os._exit(1)
        os.close(writing)
        children.append((pid, reading))
    if job.get("kill_after") is not None:
        time.sleep(job["kill_after"])
        for pid, _ in children:
            os.kill(pid, signal.SIGKILL)  # not waited for yet, so the number is still theirs
    return [gather(pid, reading) for pid, reading in children]


def gather(pid: int, reading: int) -> dict[str, Any]:
    with os.fdopen(reading, "rb") as stream:
        text = stream.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return dict(json.loads(text)) if text else {"error": f"status {status}"}


def main() -> None:
    build_hf_headers()  # asks the hub once who its users' programs may be
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
