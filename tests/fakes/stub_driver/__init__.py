"""A GPU driver that is none: real shared libraries, answering what a test wants.

    env = {**os.environ, **stub_driver(driver="470.82.01", cuda="11.4")}
    subprocess.run(["envforge", "matrix", "--here"], env=env)

Any process started with these variables finds `libcuda.so.1` and `libnvidia-ml.so.1` through
`LD_LIBRARY_PATH`, as CUDA programs do. What can be steered stands at the top of the C file; the
state of each GPU is told by `states=`:

    stub_driver(gpus=[H200, H200], states=[{}, {"free": 12 * 2**20, "mode": 3}])
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("stub_driver.c")
H200 = ("NVIDIA H200", "9.0", 150_754_820_096)
V100 = ("Tesla V100-SXM2-16GB", "7.0", 16_945_512_448)
RTX_5090 = ("NVIDIA GeForce RTX 5090", "12.0", 34_190_917_632)
VGPU = ("GRID A100D-16C", "8.0", 17_179_869_184)

STATES = (
    "uuid",
    "bus",
    "free",
    "mode",
    "ecc",
    "uncorrected",
    "remap",
    "throttle",
    "processes",
    "usage",
    "busy",
    "reserved",
    "links",
    "fabric",
    "virtual",
    "license",
    "slices",
    "lost",
    "context",
)
"""Fields of a GPU in `states`; each becomes an entry of the variable of its name."""


@functools.cache
def library_folder(missing: tuple[str, ...] = (), version: str | None = None) -> Path:
    """The folder that holds both libraries, built once per process; skips without gcc.

    Args:
        missing: entry points that are left out, as in an older driver.
        version: what the files' names end with, `libcuda.so.550.54.14`; the usual names are links.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("the stub driver needs gcc")
    folder = Path(tempfile.mkdtemp(prefix="stub-driver-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    left_out = [f"-D{name}=left_out_{name}" for name in missing]
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", f"-Wl,-soname,{name}", *left_out]
        file = name if version is None else f"{name.removesuffix('1')}{version}"
        subprocess.run([compiler, *flags, "-o", folder / file, SOURCE], check=True)
        if file != name:
            (folder / name).symlink_to(file)
    return folder


def stub_driver(
    *,
    driver: str = "535.104.05",
    cuda: str = "12.2",
    gpus: Sequence[tuple[str, str, int]] = (H200,),
    cuinit: int = 0,
    nvml: int = 0,
    hang: int = 0,
    nvml_hang: int = 0,
    crash: bool = False,
    visible: str | None = None,
    libraries: Sequence[str] = ("libcuda.so.1", "libnvidia-ml.so.1"),
    states: Sequence[Mapping[str, object]] = (),
    errors: Mapping[str, int] | None = None,
    hangs: Mapping[str, int] | None = None,
    missing: Sequence[str] = (),
    version: str | None = None,
) -> dict[str, str]:
    """Variables under which a child process sees this driver.

    `gpus` are (name, compute capability, bytes); `cuinit` and `nvml` the error codes of the two
    libraries' first call, `hang` and `nvml_hang` the seconds it takes; `visible` becomes
    `CUDA_VISIBLE_DEVICES`; a library that is not in `libraries` cannot be loaded, also where
    the machine has a real one.

    `states` holds for each GPU, in their order, the fields of `STATES` that differ from those of a
    healthy one; `errors` and `hangs` are codes and seconds by entry point; `missing` and
    `version` are those of `library_folder`.
    """
    major, minor = cuda.split(".")
    folder = library_folder(tuple(missing), version)
    variables = {
        "LD_LIBRARY_PATH": str(_only(folder, tuple(libraries))),
        "STUB_DRIVER": driver,
        "STUB_CUDA": str(int(major) * 1000 + int(minor) * 10),
        "STUB_GPUS": ";".join(f"{name}:{capability}:{size}" for name, capability, size in gpus),
        "STUB_CUINIT": str(cuinit),
        "STUB_NVML": str(nvml),
        "STUB_HANG": str(hang),
        "STUB_NVML_HANG": str(nvml_hang),
        "STUB_ERRORS": ",".join(f"{name}={code}" for name, code in (errors or {}).items()),
        "STUB_HANGS": ",".join(f"{name}={time}" for name, time in (hangs or {}).items()),
        **_states(states),
    }
    if crash:
        variables["STUB_CRASH"] = "1"
    if visible is not None:
        variables["CUDA_VISIBLE_DEVICES"] = visible
    return variables


def _states(states: Sequence[Mapping[str, object]]) -> dict[str, str]:
    unknown = {name for state in states for name in state} - set(STATES)
    assert not unknown, f"the stub driver has no {unknown}"
    return {
        f"STUB_{name.upper()}": ";".join(str(state.get(name, "")) for state in states)
        for name in STATES
        if any(name in state for state in states)
    }


@functools.cache
def _only(whole: Path, libraries: tuple[str, ...]) -> Path:
    names = {"libcuda.so.1", "libnvidia-ml.so.1"}
    if names <= set(libraries):
        return whole
    folder = Path(tempfile.mkdtemp(prefix="stub-driver-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in names:
        if name in libraries:
            os.link((whole / name).resolve(), folder / name)
        else:
            (folder / name).touch()  # the loader ends its search here: file too short
    return folder
