"""What was seen with our own eyes, as rows of a small table."""

from __future__ import annotations

from collections.abc import Iterator

from envforge.model.cuda import ComputeCapability
from envforge.verify.architectures import of_build
from envforge.verify.facts import DeviceRun, HostFacts, PrefixFacts, ProbeFacts, Subject, TorchRun


def proven(subject: Subject) -> dict[str, str]:
    """Label to value, in display order; only what was seen, never what a lock claims."""
    return {
        label: value
        for label, value in (
            *_of_prefix(subject.prefix),
            *_of_torch(subject),
            *_of_host(subject.host),
            *_of_devices(subject.probe),
        )
        if value
    }


def _of_prefix(prefix: PrefixFacts | None) -> Iterator[tuple[str, str]]:
    if prefix is None or not (prefix.conda or prefix.wheels):
        return
    counts = ((len(prefix.conda), "from conda"), (len(prefix.wheels), "wheels"))
    yield "packages", ", ".join(f"{count} {kind}" for count, kind in counts if count)


def _of_torch(subject: Subject) -> Iterator[tuple[str, str]]:
    run = subject.probe.torch if subject.probe else None
    if subject.probe and subject.probe.python:
        yield "python", subject.probe.python
    if run is not None and run.version is not None:
        yield from _of_run(run)
    elif subject.prefix and subject.prefix.torch and subject.prefix.torch.version:
        torch = subject.prefix.torch
        yield "torch", f"{torch.version} (by its files)"
        yield "CUDA compiled", torch.cuda or "none, a CPU build"
    if subject.prefix and subject.prefix.cudnn and not (run and run.cudnn_loaded):
        witness = subject.prefix.cudnn[0]
        yield "cuDNN", f"{witness.version} (by {witness.witness})"
    if run is not None and run.architectures:
        yield "built for GPUs", " ".join(of_build(subject))


def _of_run(run: TorchRun) -> Iterator[tuple[str, str]]:
    yield "torch", f"{run.version}, imported"
    yield "CUDA compiled", run.cuda or "none, a CPU build"
    yield "cuDNN compiled", run.cudnn_compiled or ""
    yield "cuDNN loaded", run.cudnn_loaded or ""
    yield "NCCL", run.nccl or ""


def _of_host(host: HostFacts | None) -> Iterator[tuple[str, str]]:
    driver = host.machine.driver if host else None
    if host is None or driver is None:
        return
    newest = f", runs CUDA {driver.cuda} natively" if driver.cuda else ""
    told = " (described)" if host.machine.origin == "described" else ""
    yield "driver", f"{driver.version or 'version unknown'}{newest}{told}"
    for index, gpu in enumerate(host.machine.gpus):
        yield f"GPU {index}", _gpu(gpu.name, gpu.capability, gpu.memory_bytes) + told


def _of_devices(probe: ProbeFacts | None) -> Iterator[tuple[str, str]]:
    for run in probe.devices if probe else ():
        done = [word for word, right in _results(run) if right]
        if done:
            label = "CPU" if run.device == "cpu" else f"GPU {run.device.partition(':')[2]}"
            name = _gpu(run.name, run.capability, run.memory_bytes) + ": " if run.name else ""
            yield label, f"{name}{' and '.join(done)} right"


def _results(run: DeviceRun) -> tuple[tuple[str, bool | None], ...]:
    return (("kernel", run.kernel_right), ("matmul", run.matmul_right))


def _gpu(name: str | None, capability: ComputeCapability | None, memory: int | None) -> str:
    size = f", {memory / 2**30:.0f} GiB" if memory else ""
    return f"{name} ({capability}){size}"
