"""Programs tell what their allocator holds: real ones, with a torch that is none."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envforge.adapters.server import allocators
from envforge.model.gpu_memory import AllocatorMemory

TORCH = """
__version__ = "2.7.1"
from torch import cuda
"""
CUDA = """
_queued = []
def _lazy_call(callable, **given):
    _queued.append(callable)
def init():
    for call in _queued:
        call()
def memory_snapshot({argument}):
    return [
        {{"device": 0, "total_size": 100, "allocated_size": 60, "blocks": [
            {{"size": 60, "state": "active_allocated"}}, {{"size": 40, "state": "inactive"}}]}},
        {{"device": 0, "total_size": 50, "allocated_size": 0, "blocks": [
            {{"size": 50, "state": "inactive"}}]}},
    ]
def memory_stats(device):
    peaks = {{"allocated_bytes.all.peak": 70, "reserved_bytes.all.peak": 160}}
    return {{**peaks, "num_alloc_retries": 2}}
def get_device_properties(device):
    class Properties:
        {uuid}
    return Properties
"""
PROGRAM = """
import threading, torch
before = threading.active_count()
torch.cuda.init()
print(before, threading.active_count(), flush=True)
input()
"""


FORKING = """
import os, torch
torch.cuda.init()
child = os.fork()
if child == 0:
    os.read(0, 1)
    os._exit(0)
print(child, flush=True)
os.waitpid(child, 0)
"""


def site(
    folder: Path, *, argument: str = "include_traces=True", uuid: str = "uuid = 'ab-12'"
) -> Path:
    """A folder for PYTHONPATH that holds such a torch."""
    (folder / "torch/cuda").mkdir(parents=True)
    (folder / "torch/__init__.py").write_text(TORCH)
    (folder / "torch/cuda/__init__.py").write_text(CUDA.format(argument=argument, uuid=uuid))
    return folder


@contextmanager
def running(
    path: str, program: str = PROGRAM, python: str = sys.executable
) -> Iterator[tuple[int, str]]:
    """The process, and what it said first."""
    env = allocators.watched({**os.environ, "PYTHONPATH": path})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([python, "-c", program], env=env, text=True, **pipes) as child:  # type: ignore[call-overload]
        assert child.stdout is not None
        try:
            yield child.pid, child.stdout.readline()
        finally:
            child.communicate("\n", timeout=20)


EXPECTED = AllocatorMemory(
    device=0,
    uuid="GPU-ab-12",
    allocated=60,
    reserved=150,
    releasable=50,
    peak_allocated=70,
    peak_reserved=160,
    retries=2,
    segments=2,
)


def test_a_program_tells_once_it_uses_cuda(tmp_path: Path) -> None:
    """And starts no thread before."""
    with running(str(site(tmp_path))) as (pid, said):
        assert said == "1 2\n"
        assert allocators.ask(pid, os.getuid()) == (EXPECTED,)
        assert allocators.ask(pid, os.getuid()) == (EXPECTED,)


def test_an_older_torch_tells_less(tmp_path: Path) -> None:
    """Its snapshot takes no argument, its devices have no UUID."""
    with running(str(site(tmp_path, argument="", uuid="pass"))) as (pid, _):
        [found] = allocators.ask(pid, os.getuid())

    assert isinstance(found, AllocatorMemory)
    assert (found.uuid, found.reserved) == ("", 150)


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.13"])
def test_other_pythons_tell_as_well(tmp_path: Path, version: str) -> None:
    python = shutil.which(f"python{version}")
    if (
        python is None
        or subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode
    ):
        pytest.skip(f"no Python {version}")
    with running(str(site(tmp_path)), python=python) as (pid, _):
        assert allocators.ask(pid, os.getuid()) == (EXPECTED,)


def test_a_program_without_torch_is_as_it_was(tmp_path: Path) -> None:
    """And a `sitecustomize` of its own still runs."""
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.mine = 'ran'; its = 1")
    code = "import sitecustomize\nprint(mine, sitecustomize.its, flush=True)\ninput()"
    with running(str(tmp_path), code) as (pid, said):
        assert said == "ran 1\n"
        assert allocators.ask(pid, os.getuid()) == allocators.NOT_WATCHED


def test_a_child_does_not_answer_for_its_parent(tmp_path: Path) -> None:
    """As the workers of a DataLoader, which are forks."""
    with running(str(site(tmp_path)), FORKING) as (pid, said):
        assert allocators.ask(int(said), os.getuid()) == allocators.NOT_WATCHED
        assert allocators.ask(pid, os.getuid()) == (EXPECTED,)


def test_an_answer_of_another_process_is_none() -> None:
    """Anybody can take an abstract name: who answers is asked of the kernel."""
    impostor = socket.socket(socket.AF_UNIX)
    impostor.bind("\0envforge-allocator-%d" % 4194301)  # noqa: UP031
    impostor.listen(1)
    with impostor:
        assert allocators.ask(4194301, os.getuid()) == "another process answered in its place"


def _telling(number: str) -> bytes:
    """An answer that is right but for one number."""
    names = ("device", "reserved", "releasable", "peak_allocated", "peak_reserved", "retries")
    device = dict.fromkeys((*names, "segments"), 0)
    text = json.dumps({"schema": "envforge.allocator/1", "devices": [{**device, "allocated": "X"}]})
    return text.replace('"X"', number).encode()


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (b"", "its own user only"),
        (b"{", "cannot be read"),
        (b'{"schema": "envforge.allocator/9"}', "another version"),
        (b'{"schema": "envforge.allocator/1", "devices": [{"device": 0}]}', "cannot be read"),
        (b'{"schema": "envforge.allocator/1", "devices": 7}', "cannot be read"),
        (b"x" * (2 << 20), "cannot be read"),
        (b"[" * (1 << 19), "cannot be read"),
        (b"x" * 9000 + b'"', "cannot be read"),
        (_telling("1e999"), "cannot be read"),
        (_telling("NaN"), "cannot be read"),
        (_telling("-1"), "cannot be read"),
        (_telling("1" + "0" * 400), "cannot be read"),
        (_telling('"7"'), "cannot be read"),
        (None, "did not answer"),
    ],
)
def test_any_answer_is_read_or_refused(
    monkeypatch: pytest.MonkeyPatch, told: bytes | None, why: str
) -> None:
    """This process answers, as a program that was tampered with might."""
    monkeypatch.setattr(allocators, "_PATIENCE", 0.3)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0envforge-allocator-%d" % os.getpid())  # noqa: UP031
    listener.listen(1)
    done = threading.Event()

    def answer() -> None:
        with listener.accept()[0] as asker:
            if told is None:
                done.wait(5)
            else:
                try:
                    asker.sendall(told)
                except OSError:
                    return

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        found = allocators.ask(os.getpid(), os.getuid())
    finally:
        done.set()
        thread.join()
        listener.close()

    assert isinstance(found, str)
    assert why in found
    assert len(found) <= 200


def test_those_that_do_not_answer_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten silent programs of one user are no reason that all others wait ten times as long."""
    together = threading.Barrier(10, timeout=20)

    def silent(pid: int, uid: int) -> str:
        together.wait()  # a barrier breaks unless all ten are asked at once
        return f"{pid} of {uid}"

    monkeypatch.setattr(allocators, "ask", silent)

    assert allocators.ask_all(dict.fromkeys(range(10), 7)) == {n: f"{n} of 7" for n in range(10)}


def test_the_hook_comes_first_and_once() -> None:
    once = allocators.watched({"PYTHONPATH": "/a:/b", "X": "1"})

    assert once["PYTHONPATH"].split(":")[1:] == ["/a", "/b"]
    assert (Path(once["PYTHONPATH"].split(":")[0]) / "sitecustomize.py").is_file()
    assert allocators.watched(once) == once
