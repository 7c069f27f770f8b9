"""Runs a program and sees which files it opens and maps, and refuses it the network."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from envforge.adapters.process import Child, converse
from envforge.adapters.proof import launch, syscalls
from envforge.adapters.proof.listener import FileId, Listener, Seen
from envforge.adapters.untrusted import end_marked, marked
from envforge.errors import ToolFailed, ToolMissing

_PROGRAM: Final = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from envforge.adapters.proof import launch
launch.main(sys.argv[2])
"""
_START_WITHIN: Final = 30.0


def watch(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    wanted: Collection[FileId],
    timeout: float,
) -> Seen:
    """Run to the end, with no network.

    Args:
        command: its first word is looked for on `PATH` of `env`.
        env: all of its environment.
        wanted: files whose use is noted, whatever their path; so are those of any hub cache.
        timeout: seconds; then it is killed.

    Raises:
        ToolMissing: there is no such program, or this kernel, or the container we are in, does
            not let programs be watched.
        ToolFailed: time was up.
    """
    program = shutil.which(command[0], path=env.get("PATH", os.defpath))
    if program is None:
        raise ToolMissing(tool=command[0], needed_for="this proof", remedy="check `PATH`")
    with tempfile.TemporaryDirectory(prefix="envforge-") as folder:
        meeting = str(Path(folder) / "listener")
        starter = [sys.executable, "-I", "-c", _PROGRAM, json.dumps(sys.path), meeting]
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server,
            converse(starter, env=_bound(server, meeting)) as child,
        ):
            variables, mark = marked(env)
            order = {"program": program, "command": list(command), "env": variables}
            child.send(json.dumps(order).encode() + b"\n")
            talk, descriptor = _meet(server)
            listener = Listener(descriptor, syscalls.this_machine(), wanted)
            try:
                in_time = _attend(child, talk, listener, mark, timeout)
            finally:
                end_marked(mark)
                os.close(descriptor)
            if not in_time:
                raise ToolFailed(
                    command=tuple(command), status=f"no end within {timeout:g} s", output=""
                )
            return listener.seen


def _bound(server: socket.socket, meeting: str) -> Mapping[str, str]:
    """Listen before the other side can come; the environment that it starts with is ours."""
    server.bind(meeting)
    server.listen(1)
    server.settimeout(_START_WITHIN)
    return os.environ


def _meet(server: socket.socket) -> tuple[socket.socket, int]:
    try:
        talk, _ = server.accept()
    except TimeoutError:
        raise _cannot("it did not start") from None
    said, descriptors, _, _ = socket.recv_fds(talk, 200, 1)
    if said != launch.READY or not descriptors:
        talk.close()
        raise _cannot(said.removeprefix(launch.FAILED).decode("utf-8", "replace"))
    return talk, descriptors[0]


def _cannot(reason: str) -> ToolMissing:
    return ToolMissing(
        tool="seccomp user notification",
        needed_for=f"watching a program ({reason})",
        remedy="it takes Linux 5.5 or newer; in a container, a seccomp profile that lets"
        " `seccomp` through",
    )


def _attend(
    child: Child, talk: socket.socket, listener: Listener, mark: str, timeout: float
) -> bool:
    """Whether it ended in time; then all that is known of it is in `listener.seen`."""
    seen = listener.seen
    reader = threading.Thread(target=lambda: seen.output.extend(child.lines()), daemon=True)
    reader.start()
    with talk:
        talk.send(launch.GO)
    began = time.monotonic()
    if not listener.answer(lambda: child.has_ended, until=began + timeout):
        return False
    seen.seconds = time.monotonic() - began
    end_marked(mark)  # who still holds its standard output
    reader.join()
    ended = child.end()
    seen.status, seen.stderr = ended.status, ended.stderr
    return True
