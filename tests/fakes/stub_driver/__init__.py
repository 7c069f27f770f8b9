"""A GPU driver that is none: real shared libraries, answering what a test wants.

    env = {**os.environ, **stub_driver(driver="470.82.01", cuda="11.4")}
    subprocess.run(["envforge", "matrix", "--here"], env=env)

Any process started with these variables finds `libcuda.so.1` and `libnvidia-ml.so.1` through
`LD_LIBRARY_PATH`, as CUDA programs do. What can be steered stands at the top of the C file.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("stub_driver.c")
H200 = ("NVIDIA H200", "9.0", 150_754_820_096)
V100 = ("Tesla V100-SXM2-16GB", "7.0", 16_945_512_448)
RTX_5090 = ("NVIDIA GeForce RTX 5090", "12.0", 34_190_917_632)


@functools.cache
def library_folder() -> Path:
    """The folder that holds both libraries, built once per process; skips without gcc."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("the stub driver needs gcc")
    folder = Path(tempfile.mkdtemp(prefix="stub-driver-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", f"-Wl,-soname,{name}"]
        subprocess.run([compiler, *flags, "-o", folder / name, SOURCE], check=True)
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
) -> dict[str, str]:
    """Variables under which a child process sees this driver.

    `gpus` are (name, compute capability, bytes); `cuinit` and `nvml` the error codes of the two
    libraries' first call, `hang` and `nvml_hang` the seconds it takes; `visible` becomes
    `CUDA_VISIBLE_DEVICES`; a library that is not in `libraries` cannot be loaded, also where
    the machine has a real one.
    """
    major, minor = cuda.split(".")
    variables = {
        "LD_LIBRARY_PATH": str(_only(tuple(libraries))),
        "STUB_DRIVER": driver,
        "STUB_CUDA": str(int(major) * 1000 + int(minor) * 10),
        "STUB_GPUS": ";".join(f"{name}:{capability}:{size}" for name, capability, size in gpus),
        "STUB_CUINIT": str(cuinit),
        "STUB_NVML": str(nvml),
        "STUB_HANG": str(hang),
        "STUB_NVML_HANG": str(nvml_hang),
    }
    if crash:
        variables["STUB_CRASH"] = "1"
    if visible is not None:
        variables["CUDA_VISIBLE_DEVICES"] = visible
    return variables


@functools.cache
def _only(libraries: tuple[str, ...]) -> Path:
    whole = library_folder()
    if set(libraries) == {item.name for item in whole.iterdir()}:
        return whole
    folder = Path(tempfile.mkdtemp(prefix="stub-driver-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for item in whole.iterdir():
        if item.name in libraries:
            os.link(item, folder / item.name)
        else:
            (folder / item.name).touch()  # the loader ends its search here: file too short
    return folder
