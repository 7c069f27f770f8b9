"""What the machine's own files tell: kernel, buses, device nodes, containers, libraries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFiles:
    """`/proc`, `/sys`, `/dev`, `/etc` and the folders of the driver's libraries."""
