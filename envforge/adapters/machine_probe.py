"""The driver and the GPUs of this machine, by libcuda and NVML.

Both libraries can hang or end the process (a broken kernel module, a GPU that fell off the bus),
so they are asked in a child: `verify/probe.py --driver`, which asks each in a child of its own.
Where nothing hints at a driver no child is started, and looking costs well under a millisecond.
"""

from __future__ import annotations

import functools
import importlib.resources
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envforge.errors import EnvforgeError
from envforge.model.machine import Machine
from envforge.ports import Processes
from envforge.verify import probe_document
from envforge.verify.facts import LibraryAnswer

_LOG = logging.getLogger(__name__)

_LIBRARIES: Final = ("libcuda.so.1", "libnvidia-ml.so.1")
_SIGNS: Final = (
    "proc/driver/nvidia/version",  # the kernel module
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
        if not driver_may_be_here(self._environment, self._root):
            return DriverLook()
        kernel = self._kernel_module()
        document = self._ask()
        if document is None:
            silent = LibraryAnswer(ended="error", stage="start a child to ask the driver")
            return DriverLook(kernel=kernel, cuda=silent, nvml=silent)
        return DriverLook(
            kernel=kernel,
            cuda=probe_document.library_answer(document["cuda"]),
            nvml=probe_document.library_answer(document["nvml"]),
        )

    def _kernel_module(self) -> str | None:
        try:
            text = (self._root / "proc/driver/nvidia/version").read_text(errors="replace")
        except OSError:
            return None
        return probe_document.kernel_version(text.partition("\n")[0])

    def _ask(self) -> dict[str, dict[str, object]] | None:
        limits = ["--timeout", str(self._timeout), "--deadline", str(2 * self._timeout)]
        script = importlib.resources.files("envforge.verify") / "probe.py"
        with importlib.resources.as_file(script) as path:
            command = [sys.executable, "-I", "-S", str(path), "--level", "static", "--driver"]
            try:
                done = self._processes.run(
                    [*command, *limits], env=self._environment, timeout=2 * self._timeout + 10
                )
            except (EnvforgeError, OSError) as error:
                _LOG.warning("the driver could not be asked: %s", error)
                return None
        document = probe_document.find_document(done.stdout)
        return document["driver"] if document else None
