"""nvidia-smi, the third witness: what it prints to be read by programs, never its tables.

`--query-gpu` in CSV is stable; the wording of everything else changes from release to release, so
the two other things it is asked (`conf-compute`, `-q` for licences) are asked only where an answer
decides something, and an answer that is not understood counts as none.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from envforge.errors import EnvforgeError
from envforge.ports import Completed, Processes
from envforge.verify.facts import GpuState, SmiWitness
from envforge.verify.probe_document import bus_id

FIELDS: Final = ("index", "name", "uuid", "pci.bus_id", "driver_version", "memory.total")
"""Fields that every driver since 2013 knows; one unknown field fails the whole query."""
_MIB: Final = 1024 * 1024
_GPU_HEADING: Final = re.compile(r"GPU ([0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.\d)\s*")
_LICENSE: Final = re.compile(r"\s*License Status\s*:\s*(\w+)", re.IGNORECASE)
_NOT_READY: Final = re.compile(r"\bnot[-_ ]?ready\b", re.IGNORECASE)
_READY: Final = re.compile(r"(?:\bstate\s*:\s*|^\s*)ready\b", re.IGNORECASE | re.MULTILINE)
_ON: Final = re.compile(r"\b(on|enabled)\s*$", re.IGNORECASE | re.MULTILINE)
_OFF: Final = re.compile(r"\b(off|disabled)\s*$", re.IGNORECASE | re.MULTILINE)


class NvidiaSmi:
    """Asks the nvidia-smi that `PATH` leads to."""

    def __init__(
        self, processes: Processes, environment: Mapping[str, str], *, timeout: float
    ) -> None:
        """`timeout` is in seconds, for each question."""
        self._processes = processes
        self._environment = environment
        self._timeout = timeout
        self._path = shutil.which("nvidia-smi", path=environment.get("PATH", ""))

    def gpus(self) -> SmiWitness:
        """The driver and the GPUs; never raises."""
        if self._path is None:
            return SmiWitness()
        done = self._ask(f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits")
        if isinstance(done, str):
            return SmiWitness(path=self._path, message=done)
        words = (done.stdout or done.stderr).strip()
        rows = read_rows(done.stdout) if done.status == 0 else []
        return SmiWitness(
            path=self._path,
            status=done.status,
            driver=next((row["driver_version"] for row in rows), None),
            gpus=tuple(_gpu(row) for row in rows),
            message="" if rows else words.partition("\n")[0][:300],
        )

    def with_confidential(self, witness: SmiWitness) -> SmiWitness:
        """The same with what confidential computing waits for."""
        if self._path is None:
            return witness
        return replace(
            witness,
            confidential=read_switch(self._words("conf-compute", "-f")),
            ready=read_ready(self._words("conf-compute", "-grs")),
        )

    def with_licenses(self, witness: SmiWitness) -> SmiWitness:
        """The same with the licences of virtual GPUs."""
        return (
            replace(witness, licenses=read_licenses(self._words("-q"))) if self._path else witness
        )

    def _words(self, *arguments: str) -> str:
        done = self._ask(*arguments)
        return "" if isinstance(done, str) or done.status != 0 else done.stdout

    def _ask(self, *arguments: str) -> Completed | str:
        """What it answered, or why it did not."""
        assert self._path is not None  # noqa: S101 - callers look
        try:
            return self._processes.run(
                [self._path, *arguments],
                env=self._environment,
                timeout=self._timeout,
                check=False,
            )
        except (EnvforgeError, OSError) as error:
            return str(error)


def read_rows(text: str) -> list[dict[str, str]]:
    """The lines of the CSV that have all of `FIELDS`."""
    cut = ([part.strip() for part in line.split(",")] for line in text.splitlines())
    rows = [dict(zip(FIELDS, parts, strict=True)) for parts in cut if len(parts) == len(FIELDS)]
    return [row for row in rows if row["index"].isdigit() and row["uuid"].startswith("GPU-")]


def _gpu(row: Mapping[str, str]) -> GpuState:
    memory = row["memory.total"]
    return GpuState(
        index=int(row["index"]),
        name=row["name"],
        uuid=row["uuid"],
        bus_id=bus_id(row["pci.bus_id"]),
        memory_bytes=int(memory) * _MIB if memory.isdigit() else None,
    )


def read_switch(text: str) -> bool | None:
    """`CC status: ON`; None: neither on nor off."""
    on, off = _ON.search(text), _OFF.search(text)
    return None if bool(on) == bool(off) else bool(on)


def read_ready(text: str) -> bool | None:
    """`Confidential Compute GPUs Ready state: not-ready`; None: neither."""
    if _NOT_READY.search(text):
        return False
    return True if _READY.search(text) else None


def read_licenses(text: str) -> tuple[tuple[str | None, str], ...]:
    """`License Status` below each `GPU <bus id>`; None as bus id where no such heading came."""
    found: list[tuple[str | None, str]] = []
    bus: str | None = None
    for line in text.splitlines():
        if heading := _GPU_HEADING.fullmatch(line):
            bus = bus_id(heading[1])
        elif (status := _LICENSE.match(line)) and status[1].lower() in {"licensed", "unlicensed"}:
            found.append((bus, status[1].lower()))
    return tuple(found)
