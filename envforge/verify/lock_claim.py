"""What a lock of another tool is for, told by the packages in it.

Where the accelerator is told, best witness first: the build string of a conda package or the
local version of a wheel; the index it is from; the package that pins CUDA beside it; what the
package registry's own wheel is built for. Spelling of builds: pytorch/builder and
conda-forge/pytorch-cpu-feedstock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote

from envforge.matrix import drivers, reading
from envforge.matrix.tables import Build, Matrix
from envforge.model.cuda import CPU, CudaVersion
from envforge.model.lock import LockedPackage, Target
from envforge.model.spec import Source

_TORCH: Final = ("pytorch", "torch", "libtorch")
_DOTTED: Final = re.compile(r"cuda(\d+)\.(\d+)")
_JOINED: Final = re.compile(r"(?:^|[_+.])cu(?:da)?(\d{1,2})(\d)(?=[_.\-]|py|h|$)")
_CPU: Final = re.compile(r"(?:^|[_+])cpu(?![a-z0-9])")
_INDEX: Final = re.compile(r"/(cu\d{2,3}|cpu|rocm[\d.]+|xpu)/")
_OTHER_MAKER: Final = re.compile(r"(rocm|xpu)")
_PINS: Final = ("pytorch-cuda", "cudatoolkit", "cuda-version")
_CPU_ONLY: Final = ("cpuonly", "pytorch-cpu", "libtorch-cpu")
_RUNTIME: Final = re.compile(r"nvidia-cuda-runtime(-cu\d+)?|cuda-toolkit")
_CUDNN: Final = re.compile(r"cudnn(\d+(?:\.\d+)+)")
_CUDNN_PACKAGE: Final = re.compile(r"cudnn|libcudnn|nvidia-cudnn(-cu\d+)?")
_VERSION: Final = re.compile(r"(\d+)\.(\d+)")


def claim_of(packages: Iterable[LockedPackage], platform: str) -> Target | None:
    """The claim that the packages of one platform amount to; None: they hold no torch we know.

    What nobody says stays empty: the architectures of a build that our tables do not have, and
    with them what can be told of GPUs. A torch for ROCm or XPU is no claim of ours.
    """
    by_name = {item.name: item for item in packages if item.platform == platform}
    torch = next((by_name[name] for name in _TORCH if name in by_name), None)
    if torch is None or _OTHER_MAKER.search(f"{torch.version} {torch.build} {torch.url}"):
        return None
    matrix = reading.load()
    source, release = _source(torch), _release(torch.version)
    accelerator = _accelerator(torch, by_name) or _registrys_own(torch, platform, matrix)
    if accelerator is None:
        return None
    cuda = None if accelerator == CPU else CudaVersion.parse(accelerator)
    row = _row(matrix, release, source, platform, cuda) if _is_published(torch) else None
    python = by_name.get("python")
    return Target(
        torch=release,
        cuda=cuda,
        cudnn=_cudnn(torch, by_name) if cuda else None,
        python=python.version if python else "",
        source=source,
        min_driver=drivers.min_driver(cuda, "linux-64", matrix) if cuda else None,
        architectures=row.architectures if row else (),
    )


def _accelerator(torch: LockedPackage, by_name: Mapping[str, LockedPackage]) -> str | None:
    """`11.8` or `cpu`, as the packages say; None: they do not."""
    own = torch.build if torch.manager == "conda" else torch.version
    if found := _DOTTED.search(own) or _JOINED.search(own):
        return f"{found[1]}.{found[2]}"
    if _CPU.search(own):
        return CPU
    if torch.manager == "pip" and (index := _INDEX.search(unquote(torch.url))):
        label = index[1]
        return CPU if label == CPU else str(CudaVersion.parse(label))
    if any(name in by_name for name in _CPU_ONLY) or _mutex(by_name) == CPU:
        return CPU
    pins = (by_name[name] for name in _PINS if name in by_name)
    runtimes = (item for name, item in by_name.items() if _RUNTIME.fullmatch(name))
    for item in (*pins, *runtimes):
        if number := _VERSION.match(item.version):
            return f"{number[1]}.{number[2]}"
    return None


def _mutex(by_name: Mapping[str, LockedPackage]) -> str:
    item = by_name.get("pytorch-mutex")
    return item.build if item else ""


def _registrys_own(torch: LockedPackage, platform: str, matrix: Matrix) -> str | None:
    """A plain wheel, or a conda build that names no accelerator: on macOS there is but one kind."""
    if platform.startswith("osx"):
        return CPU
    if torch.manager != "pip":
        return None
    rows = matrix.of(_release(torch.version))
    own = [row for row in rows if row.default and row.platform == platform]
    return next((str(row.cuda) if row.cuda else CPU for row in own), None)


def _source(torch: LockedPackage) -> Source:
    if torch.manager == "pip":
        return "wheels"
    return "pytorch" if re.search(r"/pytorch(-lts)?/", torch.url) else "conda-forge"


def _is_published(torch: LockedPackage) -> bool:
    """Whether it is from a place whose builds our tables describe."""
    return torch.manager == "pip" or bool(re.search(r"/(pytorch|conda-forge)/", torch.url))


def _row(
    matrix: Matrix, release: str, source: Source, platform: str, cuda: CudaVersion | None
) -> Build | None:
    rows = (
        row
        for row in matrix.of(release)
        if (row.source, row.platform, row.cuda) == (source, platform, cuda)
    )
    return next(rows, None)


def _cudnn(torch: LockedPackage, by_name: Mapping[str, LockedPackage]) -> str | None:
    if found := _CUDNN.search(torch.build):
        return found[1]
    return next(
        (item.version for name, item in by_name.items() if _CUDNN_PACKAGE.fullmatch(name)), None
    )


def _release(version: str) -> str:
    return version.partition("+")[0]
