"""The machine as verify sees it: the driver's witnesses and the variables that steer loading."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from envforge.adapters.machine_probe import DriverLook
from envforge.model.machine import Machine
from envforge.verify.facts import HostFacts

VARIABLES: Final = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "CUDA_PATH",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NVIDIA_VISIBLE_DEVICES",
    "PYTHONHOME",
    "PYTHONNOUSERSITE",
    "PYTHONPATH",
)
"""What is kept of the process environment; everything else may be private."""


def host_facts(look: DriverLook, environment: Mapping[str, str]) -> HostFacts:
    """The machine we run on."""
    return HostFacts(
        machine=look.machine,
        kernel_driver=look.kernel,
        cuda=look.cuda,
        nvml=look.nvml,
        variables={name: environment[name] for name in VARIABLES if name in environment},
        pythonpath={
            folder: module_names(folder)
            for folder in environment.get("PYTHONPATH", "").split(os.pathsep)
            if folder
        },
    )


def described_host_facts(machine: Machine) -> HostFacts:
    """A machine that is told of (`--driver`, `--gpu`) and cannot be looked at."""
    return HostFacts(machine=machine)


def module_names(folder: str) -> frozenset[str]:
    """Top-level names that Python could import from a folder; empty where it cannot be read."""
    try:
        entries = os.listdir(folder)  # noqa: PTH208 - hundreds of names, no Path for each
    except OSError:
        return frozenset()
    return frozenset(
        name.partition(".")[0]
        for name in entries
        if name.endswith((".py", ".so", ".pyd"))
        or ("." not in name and not name.startswith("_") and os.path.isdir(f"{folder}/{name}"))  # noqa: PTH112 - the same
    )
