"""The machine: its driver, its GPUs, its files, and what the shell around us sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envforge.model.machine import Gpu, Machine
from envforge.verify.facts.driver import FabricFiles, LibraryAnswer, MpsPipe, SmiWitness
from envforge.verify.facts.machine_files import MachineFiles
from envforge.verify.facts.shell import ShellFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """The machine: driver, GPUs, and variables that change what gets loaded."""

    machine: Machine
    """The same in the terms of the matrix. `origin` tells a described machine from this one."""
    kernel_driver: str | None = None
    """Version of the kernel module by `/proc/driver/nvidia/version`."""
    cuda: LibraryAnswer = field(default_factory=LibraryAnswer)
    nvml: LibraryAnswer = field(default_factory=LibraryAnswer)
    smi: SmiWitness = field(default_factory=SmiWitness)
    fabric: FabricFiles | None = None
    """None: not looked at, which is where CUDA does not complain of it."""
    mps: MpsPipe | None = None
    """None: nothing hints at MPS."""
    files: MachineFiles | None = None
    """What the machine's files tell; None: the machine is described, or was not looked at."""
    shell: ShellFacts | None = None
    """Caches, compilers and paths that the shell around us sets; None as above."""
    glibc: str | None = None
    """Version of the C library that programs run with, `2.36`; None: another one, or unknown."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those of `adapters.machine.host_facts.VARIABLES` that are set."""
    pythonpath: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Folder of `PYTHONPATH` to the names of modules that lie in it."""

    @property
    def usable_gpus(self) -> tuple[Gpu, ...]:
        """GPUs that a CUDA program started here can use."""
        return self.cuda.gpus if self.cuda.works else ()
