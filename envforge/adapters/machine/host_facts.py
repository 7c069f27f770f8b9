"""The machine as verify sees it: the driver's witnesses and the variables that steer loading."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from envforge.adapters.machine.c_library import glibc_version
from envforge.adapters.machine.machine_files import read_machine_files
from envforge.adapters.machine.machine_probe import DriverLook
from envforge.model.machine import Machine
from envforge.verify.facts import HostFacts

VARIABLES: Final = (
    "BNB_CUDA_VERSION",
    "CUDA_DEVICE_ORDER",
    "CUDA_HOME",
    "CUDA_MPS_PIPE_DIRECTORY",
    "CUDA_PATH",
    "CUDA_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "KMP_DUPLICATE_LIB_OK",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "MKL_SERVICE_FORCE_INTEL",
    "MKL_THREADING_LAYER",
    "NCCL_P2P_DISABLE",
    "NCCL_P2P_LEVEL",
    "NVIDIA_DISABLE_REQUIRE",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES",
    "PYTHONHOME",
    "PYTHONNOUSERSITE",
    "PYTHONPATH",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "SLURM_GPUS",
    "SLURM_GPUS_ON_NODE",
    "SLURM_GPUS_PER_NODE",
    "SLURM_GPUS_PER_SOCKET",
    "SLURM_GPUS_PER_TASK",
    "SLURM_JOBID",
    "SLURM_JOB_GPUS",
    "SLURM_JOB_ID",
    "SLURM_STEP_GPUS",
)
"""What is kept of the process environment; everything else may be private."""
_KEPT_PREFIX: Final = "NVIDIA_REQUIRE_"


def host_facts(
    look: DriverLook, environment: Mapping[str, str], *, root: Path = Path("/")
) -> HostFacts:
    """The machine we run on; its files are those under `root`."""
    return HostFacts(
        machine=look.machine,
        kernel_driver=look.kernel,
        cuda=look.cuda,
        nvml=look.nvml,
        smi=look.smi,
        fabric=look.fabric,
        mps=look.mps,
        glibc=glibc_version(environment, root),
        files=read_machine_files(environment, root, try_nodes=_answers(look)),
        variables={
            name: value
            for name, value in environment.items()
            if name in VARIABLES or name.startswith(_KEPT_PREFIX)
        },
        pythonpath={
            folder: shadowing_names(folder)
            for folder in environment.get("PYTHONPATH", "").split(os.pathsep)
            if folder
        },
    )


def _answers(look: DriverLook) -> bool:
    """Whether the driver may be touched again: it did not hang or end a child."""
    return look.cuda.ended == "done" and look.nvml.ended == "done"


def described_host_facts(machine: Machine) -> HostFacts:
    """A machine that is told of (`--driver`, `--gpu`) and cannot be looked at."""
    return HostFacts(machine=machine)


def module_names(folder: str) -> frozenset[str]:
    """Top-level names that Python could import from a folder; empty where it cannot be read."""
    try:
        with os.scandir(folder) as entries:  # hundreds of names; the kind of each comes with them
            return frozenset(
                item.name.partition(".")[0]
                for item in entries
                if item.name.endswith((".py", ".so", ".pyd"))
                or ("." not in item.name and not item.name.startswith("_") and item.is_dir())
            )
    except OSError:
        return frozenset()


def shadowing_names(folder: str) -> frozenset[str]:
    """Names that a folder or archive of PYTHONPATH takes from the folders that come later.

    A directory without `__init__` is a namespace: a package of that name further on goes before
    it, so that a folder of data or of logs hides nothing.
    """
    if os.path.isfile(folder):  # noqa: PTH113
        return _names_in_archive(folder)
    return frozenset(name for name in module_names(folder) if not _is_namespace(f"{folder}/{name}"))


def _is_namespace(path: str) -> bool:
    try:
        names = os.listdir(path)  # noqa: PTH208
    except OSError:
        return False  # a file of its own: `name.py`
    if os.path.exists(f"{path}.py"):  # noqa: PTH110 - beside it, and goes before it
        return False
    return bool(names) and not any(name.startswith("__init__.") for name in names)


def _names_in_archive(path: str) -> frozenset[str]:
    """Of an egg or a zip: names at its top."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return frozenset()
    packages = {name.partition("/")[0] for name in names if name.endswith("/__init__.py")}
    modules = {name.removesuffix(".py") for name in names if "/" not in name and name[-3:] == ".py"}
    return frozenset(packages | modules)
