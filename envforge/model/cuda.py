"""CUDA releases and compute capabilities, as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from envforge.errors import InvalidValue

CPU: Final = "cpu"
_CUDA = re.compile(
    r"(?:(?:cuda|cu)[-_ ]?)?(?P<major>\d{1,2})\.(?P<minor>\d{1,2})(?:\.\d+)*", re.IGNORECASE
)
_CUDA_LABEL = re.compile(r"(?:(?:cuda|cu)[-_ ]?)?(?P<major>\d{1,2})(?P<minor>\d)", re.IGNORECASE)
_CAPABILITY = re.compile(
    r"(?:sm_?|compute_?)?(?:(\d{1,2})\.(\d)|(\d{1,2})(\d))[af]?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, order=True)
class CudaVersion:
    """A CUDA release, such as 11.8. CPU builds are None wherever one may stand."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> CudaVersion:
        """Read `11.8`, `11.8.0`, `cu118`, `cuda11.8` or `118`.

        Raises:
            InvalidValue: for anything else, a bare major (`12`) included.
        """
        found = _CUDA.fullmatch(text.strip()) or _CUDA_LABEL.fullmatch(text.strip())
        if not found or int(found["major"]) < 7:
            raise InvalidValue(
                what="CUDA version",
                value=text,
                reason="is not of the form 11.8 or cu118",
                remedy="give major and minor, for example `--cuda 12.1`, or `cpu`, or `auto`",
            )
        return cls(int(found["major"]), int(found["minor"]))

    @property
    def label(self) -> str:
        """The short form of wheel indexes and folder names: `cu118`."""
        return f"cu{self.major}{self.minor}"

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


def accelerator_label(cuda: CudaVersion | None) -> str:
    """`cu118`, or `cpu` where there is no CUDA."""
    return cuda.label if cuda else CPU


def accelerator_name(cuda: CudaVersion | None) -> str:
    """`CUDA 11.8`, or `CPU`: for sentences."""
    return f"CUDA {cuda}" if cuda else "CPU"


@dataclass(frozen=True, slots=True, order=True)
class ComputeCapability:
    """The architecture of a GPU, such as 9.0 for Hopper."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> ComputeCapability:
        """Read `9.0`, `90`, `sm_90` or `compute_90`.

        Raises:
            InvalidValue: for anything else.
        """
        found = _CAPABILITY.fullmatch(text.strip())
        if not found:
            raise InvalidValue(
                what="compute capability", value=text, reason="is not of the form 9.0 or sm_90"
            )
        major, minor = (group for group in found.groups() if group is not None)
        return cls(int(major), int(minor))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"
