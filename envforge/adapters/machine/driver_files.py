"""What the machine's files tell of the driver itself: versions, NVSwitch, the MPS daemon.

Small, and read only where an answer of the driver asks for it; `machine_files` looks at the machine
as a whole. Everything is read below `root`, links included.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from envforge.verify.facts import FabricFiles, MpsPipe
from envforge.verify.facts.driver import file_version

_LIBRARY_FOLDERS: Final = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "lib64",
    "usr/local/nvidia/lib64",
    "usr/lib/x86_64-linux-gnu/nvidia/current",
    "usr/lib/aarch64-linux-gnu/nvidia/current",
)
_LINKS: Final = 8
_NVSWITCH_NODES: Final = ("dev", "proc/driver")
_NVIDIA: Final = "0x10de"
_BRIDGE: Final = "0x068000"
"""PCI class of other bridges, which is NVSwitch's."""
_MANAGER: Final = "nv-fabricmanager"
_PACKAGE: Final = re.compile(
    r"^Package: (?:nvidia-fabricmanager|cuda-drivers-fabricmanager)(?:-\d+)?\n(?P<rest>(?:.+\n)*)",
    re.MULTILINE,
)
_VERSION: Final = re.compile(r"^Version: (?:\d+:)?(\d{3,}\.\d+(?:\.\d+)?)", re.MULTILINE)


def first_line(path: Path) -> str | None:
    """Stripped; None: it cannot be read, or is empty."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.readline(4096).strip() or None
    except OSError:
        return None


def installed_version(root: Path, library: str) -> str | None:
    """The version of the file that `libcuda.so.1` leads to in the machine's library folders."""
    for folder in _LIBRARY_FOLDERS:
        path = f"{folder}/{library}"
        for _ in range(_LINKS):
            if version := file_version(path):
                return version
            try:
                target = str((root / path).readlink())
            except (OSError, ValueError):
                break
            path = target.lstrip("/") if target.startswith("/") else _beside(path, target)
    return None


def _beside(path: str, target: str) -> str:
    return os.path.normpath(f"{path.rpartition('/')[0]}/{target}")


# --- NVSwitch -------------------------------------------------------------------------------


def fabric(root: Path) -> FabricFiles:
    """Whether there are switches, and whether what sets them up is running."""
    return FabricFiles(
        nvswitch=_has_switch(root),
        manager_running=_manager_runs(root),
        manager_version=_manager_version(root),
    )


def _has_switch(root: Path) -> bool:
    named = (name for folder in _NVSWITCH_NODES for name in _names(root / folder))
    if any(name.startswith("nvidia-nvswitch") for name in named):
        return True
    devices = root / "sys/bus/pci/devices"
    return any(
        first_line(devices / name / "class") == _BRIDGE
        and first_line(devices / name / "vendor") == _NVIDIA
        for name in _names(devices)
    )


def _manager_runs(root: Path) -> bool | None:
    shown = _MANAGER[:15]  # as much of a name as the kernel keeps
    processes = [name for name in _names(root / "proc") if name.isdigit()]
    if any(first_line(root / "proc" / name / "comm") == shown for name in processes):
        return True
    whole = first_line(root / "proc/1/comm") in {"systemd", "init"}
    return False if whole else None  # a container sees its own processes only


def _manager_version(root: Path) -> str | None:
    try:
        text = (root / "var/lib/dpkg/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for package in _PACKAGE.finditer(text):
        version = _VERSION.search(package["rest"])
        if version and "Status: install ok installed" in package["rest"]:
            return version[1]
    return None


def _names(folder: Path) -> Iterator[str]:
    try:
        yield from sorted(os.listdir(folder))  # noqa: PTH208 - names only
    except OSError:
        return


# --- MPS ------------------------------------------------------------------------------------


def mps_pipe(environment: Mapping[str, str], root: Path, *, refused: bool) -> MpsPipe | None:
    """The folder of the MPS daemon's pipes.

    Args:
        environment: variables of the process.
        root: the machine's files; a folder that a variable names is also looked for as it is.
        refused: whether CUDA complains of MPS; else only a variable makes us look.
    """
    named = environment.get("CUDA_MPS_PIPE_DIRECTORY")
    if not named and not refused:
        return None
    folder = named or "/tmp/nvidia-mps"  # noqa: S108 - NVIDIA's default
    found = [_status(path) for path in (root / folder.lstrip("/") / "control", f"{folder}/control")]
    control = next((item for item in found if item is not None), None)
    return MpsPipe(
        folder=folder,
        asked=bool(named),
        control=control is not None,
        foreign=control is not None and control.st_uid not in {0, os.getuid()},
    )


def _status(path: Path | str) -> os.stat_result | None:
    """Of a socket or pipe; None: there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path or a name
    except (OSError, ValueError):
        return None
    return found if not stat.S_ISDIR(found.st_mode) else None
