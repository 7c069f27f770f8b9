"""Which driver runs which CUDA.

The rules are NVIDIA's (CUDA Compatibility guide; CUDA Toolkit release notes):

- native: the driver is as new as the one that came with the toolkit;
- minor-version compatibility: from CUDA 11 on, a driver that meets the minimum of a major
  runs every toolkit of that major, without what is compiled from PTX when a program starts;
- it never crosses majors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from envforge.errors import InvalidValue
from envforge.matrix.tables import Matrix, Toolkit
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Driver

Support = Literal["native", "minor-version", "none"]

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
        found = _VERSION.fullmatch(text.strip())
        if not found:
            raise InvalidValue(
                what="driver version",
                value=text,
                reason="is not of the form 535.104.05",
                remedy="`nvidia-smi` or `cat /proc/driver/nvidia/version` shows it",
            )
        return cls(tuple(int(part) for part in found[1].split(".")))

    def reaches(self, minimum: str) -> bool:
        """Whether it is this version or a newer one; a bare branch counts as its newest release."""
        return self.numbers >= DriverVersion.parse(minimum).numbers[: len(self.numbers)]


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
    own = own_driver(cuda, platform, matrix)
    if own and version.reaches(own):
        return "native"
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
    running = (
        row.cuda for row in matrix.toolkits if support(driver, row.cuda, matrix, platform) in good
    )
    return max(running, default=None)


def _minimum(toolkit: Toolkit, platform: str) -> str | None:
    return toolkit.min_driver_windows if platform.startswith("win") else toolkit.min_driver_linux


def _has_minor_versions(cuda: CudaVersion, matrix: Matrix) -> bool:
    toolkit = matrix.toolkit(cuda)
    return toolkit.minor_version if toolkit else cuda.major >= 11
