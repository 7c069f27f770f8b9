"""The machine an environment is for: this one, or one that was described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envforge.model.cuda import ComputeCapability, CudaVersion

Platform = Literal["linux-64", "linux-aarch64", "osx-arm64", "win-64"]
PLATFORMS: tuple[Platform, ...] = ("linux-64", "linux-aarch64", "osx-arm64", "win-64")
CUDA_PLATFORMS: tuple[Platform, ...] = ("linux-64", "linux-aarch64", "win-64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU, or one MIG slice of it."""

    name: str
    capability: ComputeCapability
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """The NVIDIA kernel driver."""

    version: str
    """As the driver prints it, for example `535.104.05`; compare with `matrix.drivers`."""
    cuda: CudaVersion | None = None
    """The newest CUDA it supports by its own word (cuDriverGetVersion); None: not asked."""

    @property
    def label(self) -> str:
        """`driver 535.104.05`, for sentences."""
        return f"driver {self.version}" if self.version else "a driver of unknown version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the rules need to know of a machine. No driver and no GPU: a CPU machine."""

    driver: Driver | None = None
    gpus: tuple[Gpu, ...] = ()
    origin: Literal["live", "described"] = "live"
    """`described`: from `--driver` and `--gpu`, for machines behind a login node."""

    @property
    def has_gpu(self) -> bool:
        """Whether there is a driver to run CUDA on."""
        return self.driver is not None
