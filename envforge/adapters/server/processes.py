"""Processes as `/proc` tells: whose they are, what they run, and whether they are at work."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from envforge.adapters.users import name_of
from envforge.model.gpu_memory import ProcessFacts

_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_INTERPRETERS: Final = ("python", "pypy", "julia", "perl", "ruby", "Rscript")
_SHOWN: Final = 64
_KERNEL_THREAD: Final = 0x00200000  # PF_KTHREAD, linux/sched.h
_DEVICES: Final = "/dev/nvidia"
_MACHINES_OWN: Final = "pid:[4026531836]"  # PROC_PID_INIT_INO, linux/proc_ns.h


class ProcessWatch:
    """Looks at processes twice, and tells what they did between."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root
        self._began = time.monotonic()
        self._used: dict[int, int] = {}

    def begin(self) -> None:
        """Note how much each process has used; which are of interest is known later."""
        self._began = time.monotonic()
        self._used = {
            int(name): used
            for name in _names(self._root)
            if name.isdigit() and (used := self._ticks(int(name))) is not None
        }

    def facts(self, pids: Collection[int]) -> Mapping[int, ProcessFacts]:
        """Those of them that are in sight, with the share of a processor used since `begin`.

        A driver counts processes as the machine does: in a container, the same number may be
        another's here, so that only who has a GPU open is taken for the one that is meant.
        """
        seconds = max(time.monotonic() - self._began, 1e-3)
        found = {}
        is_inside = _is_in_container(self._root)
        for pid in pids:
            if is_inside and not _has_gpu(self._root / str(pid)):
                continue
            facts = process(pid, self._root)
            ticks = self._ticks(pid)
            if facts is not None:
                before = self._used.get(pid)
                known = before is not None and ticks is not None
                cpu = 100 * ((ticks or 0) - (before or 0)) / _TICKS / seconds if known else None
                found[pid] = replace(facts, cpu=cpu)
        return found

    def _ticks(self, pid: int) -> int | None:
        fields = _stat(self._root / str(pid))
        return int(fields[11]) + int(fields[12]) if fields else None


def process(pid: int, root: Path = Path("/proc")) -> ProcessFacts | None:
    """One process; None: it is not in sight."""
    folder = root / str(pid)
    fields = _stat(folder)
    try:
        uid = folder.stat().st_uid
    except OSError:
        return None
    if not fields or _is_of_kernel(fields):
        return None
    return ProcessFacts(
        pid=pid,
        uid=uid,
        user=name_of(uid),
        program=_program(folder),
        state=fields[0],
        parent=int(fields[1]),
        age=_age(root, int(fields[19])),
    )


def _is_in_container(root: Path) -> bool:
    """Whether processes are counted otherwise here than on the machine (pid_namespaces(7))."""
    try:
        return str((root / "self/ns/pid").readlink()) != _MACHINES_OWN
    except OSError:  # a kernel without them
        return False


def _has_gpu(folder: Path) -> bool:
    """Whether it has a GPU's device open; what we may not look at has none, as far as we know."""
    return any(_target(folder / "fd" / name).startswith(_DEVICES) for name in _names(folder / "fd"))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names only
    except OSError:
        return []


def _stat(folder: Path) -> list[str]:
    """The fields of `stat` from the state on, as proc(5) numbers them from 3; empty: it is gone."""
    try:
        text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return fields if len(fields) > 19 else []


def _is_of_kernel(fields: list[str]) -> bool:
    """Whether it is a thread of the kernel, which holds no GPU: the number meant another's."""
    return bool(int(fields[6]) & _KERNEL_THREAD)


def _program(folder: Path) -> str:
    """`python3 train.py`: names of files only."""
    words = _words(folder / "cmdline")
    if not words:
        return _first_line(folder / "comm")
    program = os.path.basename(words[0])  # noqa: PTH119 - text of another program
    script = _script(words[1:]) if program.startswith(_INTERPRETERS) else ""
    return f"{program} {script}".strip()[:_SHOWN]


def _script(arguments: list[str]) -> str:
    """The script, or the module behind `-m`, among an interpreter's arguments; empty: neither."""
    for place, word in enumerate(arguments):
        if word == "-m" and place + 1 < len(arguments):
            return f"-m {arguments[place + 1]}"
        if word == "-c":
            return "-c"
        if not word.startswith("-"):
            return os.path.basename(word)  # noqa: PTH119 - as above
    return ""


def _words(path: Path) -> list[str]:
    try:
        text = path.read_bytes()[:4096].decode("utf-8", "replace")
    except OSError:
        return []
    return [word for word in text.split("\0") if word]


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _age(root: Path, started: int) -> float | None:
    """Seconds since a start that is counted in ticks from the boot."""
    try:
        uptime = float((root / "uptime").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return max(0.0, uptime - started / _TICKS)
