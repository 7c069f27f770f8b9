"""The probe's JSON, and what it says of the driver, becomes facts; `torch_document` has the rest.

Pure: `adapters.prefix.python_probe` and `machine_probe` run the probe.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.machine import Driver, Gpu, Machine
from envforge.verify.facts import (
    GpuProcess,
    GpuState,
    GpuUsage,
    LibraryAnswer,
    MigSlice,
)

_KERNEL: Final = re.compile(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s")
_BUS: Final = re.compile(
    r"(?P<domain>[0-9a-f]{4,8}):(?P<rest>[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])", re.IGNORECASE
)

NO_DEVICE: Final = 100
"""cuInit's code where there is no GPU, or CUDA_VISIBLE_DEVICES hides all."""
STUB_LIBRARY: Final = 34
"""cuInit's code of the libcuda that the toolkit brings to link with (`lib64/stubs`)."""
_CUDA_NO_DRIVER: Final = (NO_DEVICE, STUB_LIBRARY)
_NVML_NO_DRIVER: Final = (9, 12, 13)
"""NVML's codes for a kernel module that is not loaded, and for what is no NVML at all."""
_VGPU: Final = 2
_COMPUTE_MODES: Final = {
    0: "default",
    1: "exclusive-thread",
    2: "prohibited",
    3: "exclusive-process",
}
_FABRIC_STATES: Final = {0: "not-supported", 1: "not-started", 2: "in-progress", 3: "completed"}
_THROTTLE: Final = (
    (0x08, "hw-slowdown"),
    (0x20, "sw-thermal"),
    (0x40, "hw-thermal"),
    (0x80, "hw-power-brake"),
)
"""NVML's bits for clocks held down by trouble; idleness, settings, the power cap, clocks kept in
step and a display's needs are how a healthy GPU works."""


# --- the driver -----------------------------------------------------------------------------


def kernel_version(line: str | None) -> str | None:
    """`535.104.05` in the first line of `/proc/driver/nvidia/version`."""
    found = _KERNEL.search(f"{line or ''} ")
    return found[1] if found else None


def library_answer(document: dict[str, Any]) -> LibraryAnswer:
    """What libcuda or NVML said."""
    items = [item for item in document.get("gpus") or () if isinstance(item, dict)]
    return LibraryAnswer(
        library=document.get("library"),
        init=document.get("init"),
        init_name=document.get("init_name") or document.get("list_error") or "",
        ended=document.get("ended", "done"),
        stage=document.get("stage", ""),
        absent=document.get("absent") or "",
        driver=document.get("driver"),
        version=document.get("version"),
        states=tuple(_state(item) for item in items),
        gpus=tuple(_gpu(item) for item in items if "capability" in item),
    )


def _gpu(item: dict[str, Any]) -> Gpu:
    return Gpu(
        name=item["name"],
        capability=ComputeCapability(*item["capability"]),
        memory_bytes=item.get("memory"),
    )


def _state(item: dict[str, Any]) -> GpuState:
    capability, context = item.get("capability"), item.get("context") or {}
    active, links = item.get("links") or (None, None)
    processes = item.get("processes")
    virtualization, licensed = item.get("virtualization"), item.get("license")
    return GpuState(
        index=item.get("index", 0),
        name=item.get("name") or "",
        uuid=item.get("uuid"),
        bus_id=bus_id(item.get("bus")),
        capability=ComputeCapability(*capability) if capability else None,
        memory_bytes=item.get("memory"),
        free_bytes=item.get("free"),
        context=context.get("code"),
        context_name=context.get("name") or "",
        context_ended=context.get("ended") or "",
        compute_mode=_COMPUTE_MODES.get(item.get("compute_mode", -1)),
        mig=_as_bool(item.get("mig")),
        slices=tuple(_slice(part) for part in item.get("slices") or ()),
        ecc=_as_bool(item.get("ecc")),
        ecc_uncorrected=item.get("uncorrected"),
        remap_pending=item.get("remap_pending"),
        remap_failed=item.get("remap_failed"),
        throttle=_throttle(item.get("throttle") or 0),
        processes=None if processes is None else tuple(_process(entry) for entry in processes),
        links_active=active,
        links_total=links,
        fabric=_fabric(item.get("fabric")),
        virtual=None if virtualization is None else virtualization == _VGPU,
        license=None if licensed is None else "licensed" if licensed else "unlicensed",
        usage=_usage(item.get("usage")),
        error=item.get("error") or "",
        error_code=item.get("code"),
    )


def _as_bool(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _slice(part: dict[str, Any]) -> MigSlice:
    return MigSlice(
        uuid=part["uuid"],
        name=part.get("name") or "",
        memory_bytes=part.get("memory"),
        free_bytes=part.get("free"),
    )


def _process(entry: list[Any]) -> GpuProcess:
    pid, used, name = entry
    return GpuProcess(pid=pid, memory_bytes=used, name=name or "")


def _usage(item: dict[str, Any] | None) -> GpuUsage | None:
    if item is None:
        return None
    listed = item.get("processes")
    return GpuUsage(
        seconds=item["seconds"],
        busy=item.get("busy"),
        processes=None if listed is None else tuple((pid, part) for pid, part in listed),
        reserved_bytes=item.get("reserved"),
    )


def _throttle(bits: int) -> tuple[str, ...]:
    return tuple(name for bit, name in _THROTTLE if bits & bit)


def _fabric(told: list[int] | None) -> str | None:
    """A fabric that is set up, and with an error, has failed."""
    if told is None:
        return None
    state = _FABRIC_STATES.get(told[0])
    return "failed" if state == "completed" and told[1] else state


def bus_id(text: str | None) -> str | None:
    """`0000:17:00.0` of what the witnesses write (`00000000:17:00.0`); None: not a bus id."""
    found = _BUS.fullmatch((text or "").strip())
    if found is None:
        return None
    return f"{int(found['domain'], 16):04x}:{found['rest'].lower()}"


def machine_of(kernel: str | None, cuda: LibraryAnswer, nvml: LibraryAnswer) -> Machine:
    """Driver and GPUs in the terms of the matrix.

    GPUs are those that programs started here can use; where CUDA cannot be started, or its
    devices are all hidden, those that the machine has. A GPU cut up by MIG counts as its slices.
    """
    if not _is_present(kernel, cuda, nvml):
        return Machine()
    number = cuda.version or nvml.version
    release = CudaVersion(number // 1000, number % 1000 // 10) if number else None
    version = nvml.driver or kernel or cuda.loaded_version or ""
    gpus = (cuda.gpus if cuda.init == 0 else ()) or tuple(_sliced(nvml))
    return Machine(driver=Driver(version=version, cuda=release), gpus=gpus)


def _sliced(nvml: LibraryAnswer) -> Iterator[Gpu]:
    whole = [item for item in nvml.states if item.capability and item.slices]
    if not whole:
        yield from nvml.gpus
        return
    for state in nvml.states:
        if state.capability is None:
            continue
        parts = state.slices or (state,)
        for part in parts:
            yield Gpu(
                name=part.name or state.name,
                capability=state.capability,
                memory_bytes=part.memory_bytes,
            )


def _is_present(kernel: str | None, cuda: LibraryAnswer, nvml: LibraryAnswer) -> bool:
    """A libcuda alone is no driver: images and login nodes carry one without a kernel module."""
    return bool(
        kernel
        or cuda.ended == "timeout"
        or nvml.ended == "timeout"
        or (cuda.init is not None and cuda.init not in _CUDA_NO_DRIVER)
        or (nvml.init is not None and nvml.init not in _NVML_NO_DRIVER)
    )
