"""The driver and the GPUs of this machine, by libcuda, NVML and nvidia-smi.

The libraries can hang or end the process (a broken kernel module, a GPU that fell off the bus),
so they are asked in a child: `verify/probe.py --driver`, which asks each in a child of its own.
Where nothing hints at a driver no child is started, and looking costs well under a millisecond.

There are two looks. The quick one lists what is there. The thorough one, for levels import and
live, also makes a context on each GPU (which is what fails on a GPU that is held exclusively, or
whose licence ran out), waits a little for GPUs that are not ready yet, and always asks nvidia-smi;
the quick one asks that only where the libraries leave a doubt.
"""

from __future__ import annotations

import functools
import importlib.resources
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from envforge.adapters.machine import driver_files
from envforge.adapters.machine.nvidia_smi import NvidiaSmi
from envforge.errors import EnvforgeError
from envforge.model.machine import Machine
from envforge.ports import Processes
from envforge.verify import probe_document
from envforge.verify.facts import FabricFiles, LibraryAnswer, MpsPipe, SmiWitness
from envforge.verify.probe_output import find_document

_LOG = logging.getLogger(__name__)

WAIT_802: Final = 5.0
"""Seconds a thorough look waits for GPUs that answer 802. A fabric takes up to minutes after boot:
waiting them out is the person's decision, and this long is over before one looks at the clock."""
_NOT_READY: Final = 802
_MPS: Final = range(805, 811)

_LIBRARIES: Final = ("libcuda.so.1", "libnvidia-ml.so.1")
_SIGNS: Final = (
    "proc/driver/nvidia/version",  # the kernel module
    "sys/module/nvidia/version",
    "dev/dxg",  # Windows' own driver, seen from WSL
    "usr/lib/wsl/lib/libcuda.so.1",
    "run/opengl-driver/lib/libcuda.so.1",  # NixOS keeps no loader cache
    "usr/lib64/libcuda.so.1",
    "usr/lib/libcuda.so.1",
    "Windows/System32/nvcuda.dll",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverLook:
    """What the witnesses said."""

    kernel: str | None = None
    """Version of the kernel module."""
    cuda: LibraryAnswer = field(default_factory=LibraryAnswer)
    nvml: LibraryAnswer = field(default_factory=LibraryAnswer)
    smi: SmiWitness = field(default_factory=SmiWitness)
    fabric: FabricFiles | None = None
    mps: MpsPipe | None = None

    @property
    def machine(self) -> Machine:
        """The same in the terms of the matrix."""
        return probe_document.machine_of(self.kernel, self.cuda, self.nvml)


def driver_may_be_here(environment: Mapping[str, str], root: Path = Path("/")) -> bool:
    """Whether a kernel module or a library is in sight; when not, there is nothing to ask."""
    # `os.path.exists`: what may not be entered is not in sight, and no error
    if any(os.path.exists(root / sign) for sign in _SIGNS):  # noqa: PTH110
        return True
    folders = [item for item in environment.get("LD_LIBRARY_PATH", "").split(":") if item]
    if any(os.path.exists(f"{folder}/{name}") for folder in folders for name in _LIBRARIES):  # noqa: PTH110
        return True
    try:
        cache = (root / "etc/ld.so.cache").read_bytes()
    except OSError:
        return False
    return any(name.encode() + b"\0" in cache for name in _LIBRARIES)


class LiveMachineProbe:
    """`ports.MachineProbe` for the machine we run on; looks once."""

    def __init__(
        self,
        processes: Processes,
        environment: Mapping[str, str],
        *,
        root: Path = Path("/"),
        timeout: float = 20.0,
    ) -> None:
        """`timeout` is in seconds, for each of the two libraries."""
        self._processes = processes
        self._environment = environment
        self._root = root
        self._timeout = timeout

    def look(self) -> Machine:
        """See `ports.MachineProbe.look`."""
        return self.driver.machine

    @functools.cached_property
    def driver(self) -> DriverLook:
        """What each witness said; never raises for a broken driver."""
        return self.__dict__.get("thorough") or self._look(thorough=False)

    @functools.cached_property
    def thorough(self) -> DriverLook:
        """The same after a look that takes its time: seconds, and a context on each GPU."""
        return self._look(thorough=True)

    def watch(self, seconds: float) -> DriverLook:
        """The libraries' answers after some seconds of watching who uses each GPU."""
        if not driver_may_be_here(self._environment, self._root):
            return DriverLook()
        return self._libraries(thorough=False, watch=seconds)

    def _look(self, *, thorough: bool) -> DriverLook:
        if not driver_may_be_here(self._environment, self._root):
            return DriverLook()
        smi = NvidiaSmi(self._processes, self._environment, timeout=self._timeout)
        witness = _Beside(smi.gpus) if thorough else None
        look = self._libraries(thorough=thorough)
        if witness is not None:
            look = replace(look, smi=witness.result())
        elif _leaves_doubt(look):
            look = replace(look, smi=smi.gpus())
        return self._explained(look, smi)

    def _libraries(self, *, thorough: bool, watch: float | None = None) -> DriverLook:
        kernel = self._kernel_module()
        document = self._ask(thorough=thorough, watch=watch)
        if document is None:
            silent = LibraryAnswer(ended="error", stage="start a child to ask the driver")
            return DriverLook(kernel=kernel, cuda=silent, nvml=silent)
        answers = [
            replace(
                probe_document.library_answer(document[key]),
                on_disk=driver_files.installed_version(self._root, library),
            )
            for key, library in zip(("cuda", "nvml"), _LIBRARIES, strict=True)
        ]
        return DriverLook(kernel=kernel, cuda=answers[0], nvml=answers[1])

    def _explained(self, look: DriverLook, smi: NvidiaSmi) -> DriverLook:
        """With what helps to name the cause of what was seen, looked up only where it does."""
        if look.cuda.init == _NOT_READY:
            fabric = driver_files.fabric(self._root)
            look = replace(look, smi=smi.with_confidential(look.smi), fabric=fabric)
        if any(item.is_virtual and item.license is None for item in look.nvml.states):
            look = replace(look, smi=smi.with_licenses(look.smi))
        refused = look.cuda.init in _MPS
        mps = driver_files.mps_pipe(self._environment, self._root, refused=refused)
        return replace(look, mps=mps)

    def _kernel_module(self) -> str | None:
        line = driver_files.first_line(self._root / "proc/driver/nvidia/version")
        if line is not None and (version := probe_document.kernel_version(line)):
            return version
        return driver_files.first_line(self._root / "sys/module/nvidia/version")

    def _ask(
        self, *, thorough: bool, watch: float | None = None
    ) -> dict[str, dict[str, Any]] | None:
        wait = min(WAIT_802, self._timeout) if thorough else 0.0
        limit = self._timeout + (watch or 0.0)
        deadline = 2 * limit + wait
        options = ["--timeout", str(limit), "--deadline", str(deadline)]
        options += [] if watch is None else ["--watch", str(watch)]
        options += ["--contexts", "--wait-802", str(wait)] if thorough else []
        script = importlib.resources.files("envforge.verify") / "probe.py"
        with importlib.resources.as_file(script) as path:
            command = [sys.executable, "-I", "-S", str(path), "--level", "static", "--driver"]
            try:
                done = self._processes.run(
                    [*command, *options], env=self._environment, timeout=deadline + 10
                )
            except (EnvforgeError, OSError) as error:
                _LOG.warning("the driver could not be asked: %s", error)
                return None
        document = find_document(done.stdout)
        return document["driver"] if document else None


def _leaves_doubt(look: DriverLook) -> bool:
    """Whether a third witness could tell something: NVML does not work, though a driver is here."""
    return look.machine.driver is not None and not look.nvml.works


class _Beside:
    """A call that runs while something else does; what it raises is raised by `result`."""

    def __init__(self, work: Callable[[], SmiWitness]) -> None:
        self._work = work
        self._found: SmiWitness | BaseException = SmiWitness()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._work()
        except BaseException as error:  # noqa: BLE001 - raised again where it is asked for
            self._found = error

    def result(self) -> SmiWitness:
        """Wait for it; it has a time limit of its own."""
        self._thread.join()
        if isinstance(self._found, BaseException):
            raise self._found
        return self._found
