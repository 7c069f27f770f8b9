"""Versions of the libraries that torch stands on, by the packages that brought them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from envforge.verify.facts import PrefixFacts

COMPONENTS: Final[Mapping[str, re.Pattern[str]]] = {
    "CUDA runtime": re.compile(r"cuda-cudart|nvidia-cuda-runtime(-cu\d+)?|cudatoolkit"),
    "cuBLAS": re.compile(r"libcublas|nvidia-cublas(-cu\d+)?"),
    "cuSPARSE": re.compile(r"libcusparse|nvidia-cusparse(-cu\d+)?"),
    "nvJitLink": re.compile(r"libnvjitlink|nvidia-nvjitlink(-cu\d+)?"),
    "NVRTC": re.compile(r"cuda-nvrtc|nvidia-cuda-nvrtc(-cu\d+)?"),
    "NCCL": re.compile(r"nccl|nvidia-nccl(-cu\d+)?"),
    "Triton": re.compile(r"triton|torchtriton|pytorch-triton"),
    "MKL": re.compile(r"mkl"),
    "OpenMP": re.compile(r"llvm-openmp|intel-openmp|libgomp"),
}
"""Name to the packages, of conda channels and of the package index, that bring it."""


def components(prefix: PrefixFacts) -> dict[str, str]:
    """Component to version, in the order of the table; what is not installed is left out.

    Two packages that bring one component in different versions are both named.
    """
    found: dict[str, str] = {}
    packages = (*prefix.conda, *prefix.wheels)
    for component, names in COMPONENTS.items():
        versions = {item.version: None for item in packages if names.fullmatch(item.name)}
        if versions:
            found[component] = " and ".join(versions)
    return found
