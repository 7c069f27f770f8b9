"""GPUs that are none: torch's tensors stay on the CPU, and the driver takes PTX.

`nvrtc.c` is built as NVRTC and, over the stub driver, as a libcuda whose kernels really write.
`interpreter` makes one whose real CPU build of torch takes `cuda:0` for a device.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("nvrtc.c")


def nvrtc(target: Path) -> Path:
    """NVRTC, which makes PTX of anything; see the C file for what steers it."""
    return _compiled(target, f"-Wl,-soname,{target.name}")


@functools.cache
def driver_that_takes_ptx() -> Path:
    """A folder with the stub driver's two libraries, and modules and launches in libcuda."""
    folder = Path(tempfile.mkdtemp(prefix="stub-driver-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        _compiled(folder / name, "-DAS_DRIVER", f"-Wl,-soname,{name}")
    return folder


def _compiled(target: Path, *flags: str) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("libraries are built by gcc")
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", *flags]
    subprocess.run([*command, "-o", target, _SOURCE], check=True)
    return target


def interpreter(torch_python: str, folder: Path) -> Path:
    """A new environment over the one that has torch, in which `fake_gpu.py` changes torch."""
    where = "import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))"
    found = subprocess.run(
        [torch_python, "-I", "-c", where], capture_output=True, text=True, check=True
    )
    subprocess.run([torch_python, "-m", "venv", "--without-pip", folder], check=True)
    [site] = folder.glob("lib/python3*/site-packages")
    (site / "fake_gpu.py").symlink_to(Path(__file__).with_name("fake_gpu.py"))
    (site / "torch.pth").write_text(f"{found.stdout.strip()}\nimport fake_gpu\n")
    return folder / "bin" / "python"
