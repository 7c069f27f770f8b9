"""What error texts of CUDA, its libraries and the loader mean, and what to do about each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One kind of failure, known by its words."""

    words: re.Pattern[str]
    means: str
    remedy: str


def _cause(words: str, means: str, remedy: str) -> Cause:
    return Cause(words=re.compile(words, re.IGNORECASE), means=means, remedy=remedy)


_XID = "look for `Xid` in `dmesg`: it names the fault; reset the GPU or reboot"
CAUSES: Final = (
    _cause(
        r"unsupported toolchain|UNSUPPORTED_PTX_VERSION|\(222\)",
        "the driver is older than the toolkit that made this PTX",
        "update the driver to the branch of the build's CUDA, or take a build for the driver's own",
    ),
    _cause(
        r"JIT_COMPILER_NOT_FOUND|\(221\)|PTX JIT compiler (library )?(was )?not found",
        "the driver's PTX compiler, libnvidia-ptxjitcompiler, is not here",
        "install the driver's libraries completely; in a container, ask for the capability"
        " `compute` (NVIDIA_DRIVER_CAPABILITIES)",
    ),
    _cause(
        r"JIT_COMPILATION_DISABLED|\(223\)|PTX JIT compilation was disabled",
        "a variable forbids the driver to compile PTX",
        "unset CUDA_DISABLE_PTX_JIT CUDA_DISABLE_JIT",
    ),
    _cause(
        r"libnvrtc-builtins",
        "NVRTC does not find the library of built-in functions of its own version",
        "install the NVRTC package of the build's CUDA completely",
    ),
    _cause(
        r"no kernel image is available|NO_BINARY_FOR_GPU|\(209\)|device kernel image is invalid",
        "this build holds no code for this GPU",
        "`envforge matrix --here` lists the builds that have code for it",
    ),
    _cause(
        r"busy or unavailable|DEVICE_UNAVAILABLE",
        "another process has this GPU for itself, or it may not be used at all",
        "`nvidia-smi -q -d COMPUTE` shows the mode; `sudo nvidia-smi -c 0` lets processes share it",
    ),
    _cause(
        r"uncorrectable ECC|ECC_UNCORRECTABLE",
        "the GPU's memory has errors that cannot be corrected",
        "stop all programs on it and `sudo nvidia-smi --gpu-reset`; where it comes back, have the"
        " GPU replaced",
    ),
    _cause(
        r"uncorrectable NVLink error|NVLINK_UNCORRECTABLE|hardware stack error|misaligned address"
        r"|illegal memory access|illegal instruction was encountered|unspecified launch failure"
        r"|ILLEGAL_ADDRESS|LAUNCH_FAILED|invalid program counter|external failure occurred",
        "a kernel that is known to be right went wrong on this GPU",
        _XID,
    ),
    _cause(
        r"launch timed out|LAUNCH_TIMEOUT",
        "the driver ended a kernel that took too long, as it does where a display hangs on the GPU",
        "use a GPU without a display, or raise its watchdog's limit",
    ),
    _cause(
        r"out of memory|MEMORY_ALLOCATION|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED",
        "there is no memory left for it, most often because other programs hold it",
        "`nvidia-smi` lists the programs on each GPU",
    ),
    _cause(
        r"system not yet initialized|SYSTEM_NOT_READY",
        "the fabric between the GPUs is not ready",
        "systemctl restart nvidia-fabricmanager, of exactly the driver's version",
    ),
    _cause(
        r"driver version is insufficient|driver on your system is too old",
        "the driver is too old for this build",
        "`envforge matrix --here` lists the builds that this driver runs",
    ),
    _cause(
        r"unsupported display driver|COMPAT_NOT_SUPPORTED_ON_DEVICE|forward compatibility was",
        "the libcuda that is loaded does not fit the kernel module",
        "take folders with another libcuda out of LD_LIBRARY_PATH; after a driver update, reboot",
    ),
    _cause(
        r"CUDNN_STATUS_SUBLIBRARY_(VERSION_MISMATCH|LOADING_FAILED)",
        "parts of cuDNN come from several places, or one is missing",
        "install one complete cuDNN, and unset LD_LIBRARY_PATH",
    ),
    _cause(
        r"CUDNN_STATUS_ARCH_MISMATCH|not compatible with devices with SM",
        "this cuDNN no longer serves this GPU",
        "take a build with an older cuDNN: `envforge matrix --here`",
    ),
    _cause(
        r"(CUBLAS|CUDNN)_STATUS_NOT_INITIALIZED",
        "the library could not start, most often for want of memory on the GPU",
        "`nvidia-smi` lists the programs on each GPU; else take the library of the build",
    ),
    _cause(
        r"Unrecognized CachingAllocator option|Error parsing (Pytorch|CUDA) ?Alloc",
        "a variable sets an option that this torch's allocator does not know",
        "unset PYTORCH_CUDA_ALLOC_CONF PYTORCH_ALLOC_CONF",
    ),
    _cause(
        r"unknown error|CUDA_ERROR_UNKNOWN",
        "the driver does not say why",
        "sudo modprobe nvidia_uvm; " + _XID,
    ),
)
"""The first that fits counts. Drivers do not know the names of codes that are newer than they are,
hence the numbers. Sources: CUDA Runtime API (error types), CUDA Driver API (CUresult),
cuDNN API reference (cudnnStatus_t), and the reports that `failures` of the checks name."""

_UNSUPPORTED: Final = re.compile(
    r"not implemented for|No (available|viable) (kernel|backend)|STATUS_NOT_SUPPORTED"
    r"|(is|are) (not supported|only supported)|only supported (on|for)|not compiled with"
    r"|does not support|requires (compute|CUDA|cuBLASLt|a GPU)|not available for|not currently"
    r" supported|No (valid )?execution plans|expected .* to have one of the following types"
    r"|no fp8 support",
    re.IGNORECASE,
)


def cause_of(text: str) -> Cause | None:
    """What an error means; None: its words are not known."""
    return next((item for item in CAUSES if item.words.search(text)), None)


def is_unsupported(text: str) -> bool:
    """Whether an error says that this GPU or this build does not have something, no more."""
    return cause_of(text) is None and _UNSUPPORTED.search(text) is not None
