"""Which driver runs which CUDA.

The rules are NVIDIA's (CUDA Compatibility guide; CUDA Toolkit release notes):

- native: the driver is as new as the one that came with the toolkit;
- minor-version compatibility: from CUDA 11 on, a driver that meets the minimum of a major
  runs every toolkit of that major, without what is compiled from PTX when a program starts;
- it never crosses majors;
- PTX, which a driver compiles when a program starts, must not be newer than the driver's CUDA;
- forward compatibility: a package `cuda-compat-X-Y` brings the driver's user-space part of a
  newer CUDA, on Linux, on some boards, and on top of some driver branches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from envforge.errors import InvalidValue
from envforge.matrix import gpus
from envforge.matrix.tables import CompatPackage, Matrix, Toolkit
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Driver, Machine

Support = Literal["native", "minor-version", "unknown", "none"]
"""`unknown`: driver and CUDA are both newer than the tables."""

_VERSION = re.compile(r"[Rr]?(\d{2,4}(?:\.\d+){0,3})")


@dataclass(frozen=True, slots=True, order=True)
class DriverVersion:
    """A driver's version as numbers; `535` is the start of that branch."""

    numbers: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> DriverVersion:
        """Read `535.104.05`, `535.104`, `535` or `R535`.

        Raises:
            InvalidValue: for anything else.
        """
        return cls(_numbers(text))

    def reaches(self, minimum: str) -> bool:
        """Whether it is this version or a newer one; a bare branch counts as its newest release."""
        return self.numbers >= DriverVersion.parse(minimum).numbers[: len(self.numbers)]


@lru_cache(maxsize=256)
def _numbers(text: str) -> tuple[int, ...]:
    found = _VERSION.fullmatch(text.strip())
    if not found:
        raise InvalidValue(
            what="driver version",
            value=text,
            reason="is not of the form 535.104.05",
            remedy="`nvidia-smi` or `cat /proc/driver/nvidia/version` shows it",
        )
    return tuple(int(part) for part in found[1].split("."))


def min_driver(cuda: CudaVersion, platform: str, matrix: Matrix) -> str | None:
    """The oldest driver that runs this CUDA, by minor-version compatibility where it exists.

    None where no source says it. A CUDA newer than the tables has its major's minimum.
    """
    toolkit = matrix.toolkit(cuda)
    candidates = [toolkit] if toolkit else []
    candidates += [
        row for row in matrix.toolkits if row.cuda.major == cuda.major and row.minor_version
    ]
    return next((found for row in candidates if (found := _minimum(row, platform))), None)


def own_driver(cuda: CudaVersion, platform: str, matrix: Matrix) -> str | None:
    """The oldest driver that runs this CUDA natively: the one that came with its first release.

    Where that is not known, the start of its driver branch; None where that is unknown too.
    """
    toolkit = matrix.toolkit(cuda)
    if toolkit is None:
        return None
    first = toolkit.releases[0]
    own = first.driver_windows if platform.startswith("win") else first.driver_linux
    return own or (toolkit.branch.removeprefix("R") if toolkit.branch else None)


def support(
    driver: Driver, cuda: CudaVersion, matrix: Matrix, platform: str = "linux-64"
) -> Support:
    """How this driver runs this CUDA. Its own word (`Driver.cuda`) counts most, where it gave one.

    Raises:
        InvalidValue: the driver told no CUDA, and its version cannot be read.
    """
    if driver.cuda is not None:
        if driver.cuda >= cuda:
            return "native"  # also with cuda-compat, whose libcuda is newer than the driver
        same_major = driver.cuda.major >= cuda.major and _has_minor_versions(cuda, matrix)
        return "minor-version" if same_major else "none"
    version = DriverVersion.parse(driver.version)
    if _runs_natively(version, cuda, platform, matrix):
        return "native"
    if _is_beyond_the_tables(version, cuda, platform, matrix):
        return "unknown"
    if not _has_minor_versions(cuda, matrix):
        return "none"
    minimum = min_driver(cuda, platform, matrix)
    return "minor-version" if minimum and version.reaches(minimum) else "none"


def newest_cuda(
    driver: Driver, matrix: Matrix, platform: str = "linux-64", *, native: bool = True
) -> CudaVersion | None:
    """The newest CUDA this driver runs: natively (what `nvidia-smi` shows), or at all."""
    good: Iterable[Support] = ("native",) if native else ("native", "minor-version")
    if native and driver.cuda is not None:
        return driver.cuda
    running = [
        row.cuda for row in matrix.toolkits if support(driver, row.cuda, matrix, platform) in good
    ]
    if driver.cuda is not None:
        running.append(driver.cuda)  # its own word, also where the tables end before it
    return max(running, default=None)


def cuda_of_ptx(version: tuple[int, int], matrix: Matrix) -> CudaVersion | None:
    """The oldest CUDA whose driver loads this version of PTX; None: newer than the tables."""
    writers = (row.cuda for row in matrix.toolkits if row.ptx and row.ptx >= version)
    return min(writers, default=None)


def compat_package(
    cuda: CudaVersion, machine: Machine, matrix: Matrix, platform: str = "linux-64"
) -> CompatPackage | None:
    """The package with which this machine's driver runs a CUDA that it is too old for.

    None where NVIDIA promises none: not Linux, another driver branch, or a board that takes none.
    """
    if not platform.startswith("linux") or machine.driver is None or not machine.gpus:
        return None
    if not all(gpus.takes_compat(gpu, matrix) for gpu in machine.gpus):
        return None
    branch = machine.driver.version.lstrip("Rr").partition(".")[0]
    fitting = (
        row
        for row in matrix.compat_packages
        if row.cuda.major == cuda.major and row.cuda >= cuda and branch in row.on
    )
    return min(fitting, key=lambda row: row.cuda, default=None)


def _runs_natively(
    version: DriverVersion, cuda: CudaVersion, platform: str, matrix: Matrix
) -> bool:
    """Whether it is as new as the driver of this CUDA, or as that of any later one."""
    later = (row.cuda for row in matrix.toolkits if row.cuda >= cuda)
    owns = (own_driver(item, platform, matrix) for item in later)
    return any(own and version.reaches(own) for own in owns)


def _is_beyond_the_tables(
    version: DriverVersion, cuda: CudaVersion, platform: str, matrix: Matrix
) -> bool:
    newest = matrix.toolkits[-1].cuda
    return cuda > newest and _runs_natively(version, newest, platform, matrix)


def _minimum(toolkit: Toolkit, platform: str) -> str | None:
    return toolkit.min_driver_windows if platform.startswith("win") else toolkit.min_driver_linux


def _has_minor_versions(cuda: CudaVersion, matrix: Matrix) -> bool:
    toolkit = matrix.toolkit(cuda)
    return toolkit.minor_version if toolkit else cuda.major >= 11
