"""The probe's JSON becomes facts. Pure: `adapters.python_probe` and `machine_probe` run it."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.finding import Level
from envforge.model.machine import Driver, Gpu, Machine
from envforge.verify.facts import DeviceRun, Ending, LibraryAnswer, ProbeFacts, TorchRun

BEGIN: Final = "==== envforge probe: begin ===="
END: Final = "==== envforge probe: end ===="
_KERNEL: Final = re.compile(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s")
_LIBRARY_FILE: Final = re.compile(r"libcuda\.so\.(\d{3,}\.\d+(?:\.\d+)?)$")

NO_DEVICE: Final = 100
"""cuInit's code where there is no GPU, or CUDA_VISIBLE_DEVICES hides all."""
_NVML_NO_DRIVER: Final = (9, 12)
"""NVML's codes for a kernel module that is not loaded, and a library that is not there."""


def find_document(output: str) -> dict[str, Any] | None:
    """The JSON between the last pair of markers, whatever else was printed; None: none there."""
    before, _, after = output.rpartition(BEGIN)
    text, end, _ = after.partition(END)
    if not end or (not before and BEGIN not in output):
        return None
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


# --- the driver -----------------------------------------------------------------------------


def kernel_version(line: str | None) -> str | None:
    """`535.104.05` in the first line of `/proc/driver/nvidia/version`."""
    found = _KERNEL.search(f"{line or ''} ")
    return found[1] if found else None


def library_answer(document: dict[str, Any]) -> LibraryAnswer:
    """What libcuda or NVML said."""
    return LibraryAnswer(
        library=document.get("library"),
        init=document.get("init"),
        init_name=document.get("init_name") or document.get("list_error") or "",
        ended=document.get("ended", "done"),
        stage=document.get("stage", ""),
        driver=document.get("driver"),
        version=document.get("version"),
        gpus=tuple(_gpu(item) for item in document.get("gpus", ()) if "capability" in item),
    )


def _gpu(item: dict[str, Any]) -> Gpu:
    return Gpu(
        name=item["name"],
        capability=ComputeCapability(*item["capability"]),
        memory_bytes=item.get("memory"),
    )


def machine_of(kernel: str | None, cuda: LibraryAnswer, nvml: LibraryAnswer) -> Machine:
    """Driver and GPUs in the terms of the matrix.

    GPUs are those that programs started here can use; where CUDA cannot be started, or its
    devices are all hidden, those that the machine has.
    """
    if not _is_present(kernel, cuda, nvml):
        return Machine()
    number = cuda.version or nvml.version
    release = CudaVersion(number // 1000, number % 1000 // 10) if number else None
    version = nvml.driver or kernel or _version_of_file(cuda.library)
    return Machine(driver=Driver(version=version, cuda=release), gpus=cuda.gpus or nvml.gpus)


def _is_present(kernel: str | None, cuda: LibraryAnswer, nvml: LibraryAnswer) -> bool:
    """A libcuda alone is no driver: images and login nodes carry one without a kernel module."""
    return bool(
        kernel
        or cuda.ended == "timeout"
        or nvml.ended == "timeout"
        or (cuda.init is not None and cuda.init != NO_DEVICE)
        or (nvml.init is not None and nvml.init not in _NVML_NO_DRIVER)
    )


def _version_of_file(path: str | None) -> str:
    found = _LIBRARY_FILE.search(path or "")
    return found[1] if found else ""


# --- torch ----------------------------------------------------------------------------------


def probe_facts(document: dict[str, Any], level: Level) -> ProbeFacts:
    """What the environment's interpreter found."""
    python = document.get("python", {})
    torch = document.get("torch")
    return ProbeFacts(
        level=level,
        python=python.get("version"),
        executable=python.get("executable"),
        prefix=python.get("prefix"),
        torch=_torch_run(torch) if torch else None,
        devices=tuple(_device_run(item) for item in document.get("devices", ())),
    )


def _ending(document: dict[str, Any]) -> Ending:
    error = document.get("error") or {}
    kind, text = error.get("type", ""), error.get("message", "")
    return Ending(
        ended=document.get("ended", "done"),
        stage=document.get("stage", ""),
        message=f"{kind}: {text}" if kind else "",
        trace=error.get("traceback") or document.get("output", ""),
    )


def _torch_run(document: dict[str, Any]) -> TorchRun:
    plain = ("version", "file", "cuda", "hip", "nccl", "available", "device_count")
    cudnn = ("cudnn_compiled", "cudnn_loaded", "cudnn_error")
    return TorchRun(
        ending=_ending(document),
        **{key: document.get(key) for key in (*plain, *cudnn)},
        architectures=tuple(document.get("architectures", ())),
        libraries=tuple(document.get("libraries", ())),
        warnings=tuple(document.get("warnings", ())),
    )


def _device_run(document: dict[str, Any]) -> DeviceRun:
    capability = document.get("capability")
    return DeviceRun(
        device=document.get("device", "?"),
        ending=_ending(document),
        name=document.get("name"),
        capability=ComputeCapability(*capability) if capability else None,
        memory_bytes=document.get("memory"),
        kernel_right=(document.get("kernel") or {}).get("right"),
        matmul_right=(document.get("matmul") or {}).get("right"),
        matmul_error=(document.get("matmul") or {}).get("worst"),
    )
