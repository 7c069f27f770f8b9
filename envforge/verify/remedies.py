"""Commands that mend things, as text to copy."""

from __future__ import annotations

import re
import shlex
from typing import Final

from envforge.matrix import running
from envforge.matrix.tables import Matrix
from envforge.model.cuda import CPU, CudaVersion
from envforge.model.machine import Machine
from envforge.verify.facts import Subject

_ANEW: Final = "make the environment anew, from its lock"
_SUFFIX: Final = re.compile(r"-torch\d+-(cu\d+|cpu)$")


def install(subject: Subject) -> str:
    """Make the prefix as the lock says."""
    if subject.locked is None or subject.folder is None:
        torch = _torch(subject)
        files = subject.prefix.torch if subject.prefix else None
        cuda = files.cuda if files else None
        return f"make the environment anew: {create(subject, torch, cuda)}" if torch else _ANEW
    return f"envforge install {shlex.quote(subject.place or subject.folder)}"


def project(subject: Subject) -> str:
    """The project a folder is named for: `nlp-bert` of `nlp-bert-torch20-cu118`."""
    named = subject.folder or subject.name
    if named.endswith("/conda-lock.yml"):  # a lock that was named by its path
        named = named.rsplit("/", 2)[-2]
    name = _SUFFIX.sub("", named)
    return name if re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name) else "PROJECT"


def create(subject: Subject, torch: str, cuda: CudaVersion | str | None) -> str:
    """Make another environment for the same project."""
    version = torch.partition("+")[0]
    return f"envforge create {project(subject)} --torch {version} --cuda {cuda or CPU}"


def create_for_machine(subject: Subject, machine: Machine, matrix: Matrix) -> str | None:
    """The nearest environment that this machine runs: the same torch, else the newest that does.

    Newest CUDA first, as far as the driver and the kernels for every GPU allow. None where no
    published build runs here.
    """
    torch, python = _torch(subject), _python(subject)
    fitting = [
        cell
        for cell, verdict in running.runs_here(machine, matrix, subject.platform)
        if verdict.state != "unknown"
    ]
    best = max(
        fitting, key=lambda cell: (cell.torch == torch, python in cell.pythons), default=None
    )
    if best is None:
        return None
    command = create(subject, best.torch, best.cuda)
    return f"{command} --python {python}" if python in best.pythons else command


def _torch(subject: Subject) -> str:
    """The release that is locked, else the one that is installed; empty: none."""
    if subject.target is not None:
        return subject.target.torch.partition("+")[0]
    files = subject.prefix.torch if subject.prefix else None
    return (files.version or "").partition("+")[0] if files else ""


def _python(subject: Subject) -> str:
    """Major and minor of the Python it is for; empty: not known."""
    named = subject.target.python if subject.target else ""
    return ".".join(named.split(".")[:2])
