"""What the matrix decided for a request: the cell to build, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from envforge.model.cuda import CudaVersion
from envforge.model.spec import Constraint, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One (torch, CUDA, Python, source) that exists and may run on the machine."""

    torch: str
    """Full version, `2.0.1`."""
    cuda: CudaVersion | None
    python: str
    """`3.10`, `3.10.14` where the person gave that much, or `host`."""
    other_pythons: tuple[str, ...] = ()
    """Tried in this order when `python` was not asked for and does not solve."""
    source: Source
    cudnn: str | None = None
    architectures: tuple[str, ...] = ()
    """`9.0`, `12.0+PTX`; empty: unknown."""
    min_driver: str | None = None
    """Oldest Linux driver for this CUDA, by minor-version compatibility."""
    min_glibc: str | None = None
    """Oldest C library of the build on Linux."""
    metapackage: Literal["pytorch-cuda", "cudatoolkit", "cuda-version"] | None = None
    """The conda package that pins CUDA; None for CPU and for wheels."""
    companions: Mapping[str, str] = field(default_factory=dict)
    """Official partner versions: torchvision, torchaudio, triton, torchtext."""
    constraints: tuple[Constraint, ...] = ()
    """Known-bad pairs, as ranges for the solver."""
    notes: tuple[str, ...] = ()
    """Which choices were made for the person, and why; shown."""
    wheel_label: str | None = None
    """`cu118` or `cpu`: the folder of PyTorch's wheel index; None for conda sources."""
