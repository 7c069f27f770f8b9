"""Families of shared objects, by the beginning of a file name."""

from __future__ import annotations

import re
from typing import Final

CUDA_LIBRARY: Final = re.compile(
    r"lib(torch|c10|cudart|cudnn|cublas|cufft|cufile|curand|cusolver|cusparse|nccl|nvrtc|nvJitLink"
    r"|cupti|nvToolsExt|nvshmem)[\w-]*\.so"
)
"""torch's own libraries and those of the CUDA toolkit, which have to be of one build."""
DRIVER_LIBRARY: Final = re.compile(r"lib(cuda|nvcuvid|nvoptix|cudadebugger|nvidia-[\w-]+)\.so")
"""Those that come with the driver, and never with an environment."""
CUDNN: Final = re.compile(r"libcudnn\.so")
TORCH_LIBRARY: Final = re.compile(r"lib(torch\w*|c10\w*)\.so")
C_LIBRARY: Final = re.compile(
    r"(lib(c|m|dl|pthread|rt|util|resolv|nsl|crypt|anl|mvec|BrokenLocale)|ld-linux[\w-]*|ld64)\.so"
)
"""Parts of glibc: wherever a Python runs, they are."""
MACHINES: Final = {62: "x86_64", 183: "aarch64", 21: "ppc64le"}
"""`e_machine` of ELF files to the name that `uname -m` gives."""
