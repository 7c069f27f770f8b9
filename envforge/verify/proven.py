"""What was seen with our own eyes, as rows of a small table."""

from __future__ import annotations

from collections.abc import Iterator

from envforge.model.cuda import ComputeCapability, accelerator_name
from envforge.model.wording import counted
from envforge.verify.architectures import of_build
from envforge.verify.components import components
from envforge.verify.facts import (
    DeviceRun,
    HostFacts,
    PrefixFacts,
    ProbeFacts,
    Subject,
    TorchRun,
    Trial,
)


def proven(subject: Subject) -> dict[str, str]:
    """Label to value, in display order; only what was seen, never what a lock claims."""
    return {
        label: value
        for label, value in (
            *_of_lock(subject),
            *_of_prefix(subject.prefix),
            *_of_torch(subject),
            *_of_host(subject),
            *_of_devices(subject.probe),
            *_of_all_devices(subject.probe),
        )
        if value
    }


def _of_lock(subject: Subject) -> Iterator[tuple[str, str]]:
    """Of a lock that was named alone: there is nothing else to see of it."""
    if subject.kind != "lock":
        return
    yield "lock", f"{counted(len(subject.locked or ()), 'package')} for {subject.platform}"
    if subject.target is not None:
        yield "torch", f"{subject.target.torch}, {accelerator_name(subject.target.cuda)}"


def _of_prefix(prefix: PrefixFacts | None) -> Iterator[tuple[str, str]]:
    if prefix is None or not (prefix.conda or prefix.wheels):
        return
    wheels = "wheel" if len(prefix.wheels) == 1 else "wheels"
    counts = ((len(prefix.conda), "from conda"), (len(prefix.wheels), wheels))
    yield "packages", ", ".join(f"{count} {kind}" for count, kind in counts if count)
    yield (
        "libraries",
        ", ".join(f"{name} {version}" for name, version in components(prefix).items()),
    )


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
    elif subject.prefix and subject.prefix.torch is None and subject.target is None:
        yield "torch", "not installed"
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
    if run.numpy and run.numpy.bridge:
        yield "NumPy", f"{run.numpy.version}, exchanges arrays with torch"


def _of_host(subject: Subject) -> Iterator[tuple[str, str]]:
    host = subject.host
    if host is None:
        return
    driver, told = host.machine.driver, _told(host)
    if driver is not None:
        newest = f", runs CUDA {driver.cuda} natively" if driver.cuda else ""
        yield "driver", f"{driver.version or 'version unknown'}{newest}{told}"
    elif subject.kind == "host":
        yield "driver", "none found"
    for index, gpu in enumerate(host.machine.gpus):
        yield f"GPU {index}", _gpu(gpu.name, gpu.capability, gpu.memory_bytes) + told


def _told(host: HostFacts) -> str:
    return " (described)" if host.machine.origin == "described" else ""


def _of_devices(probe: ProbeFacts | None) -> Iterator[tuple[str, str]]:
    for run in probe.devices if probe else ():
        done = [word for word, right in _results(run) if right]
        if done:
            label = _device_label(run.device)
            name = _gpu(run.name, run.capability, run.memory_bytes) + ": " if run.name else ""
            yield label, f"{name}{_listed(done)} right"
            yield f"{label} copies", _speeds(run)
            yield f"{label} memory", _memory(run)


def _device_label(device: str) -> str:
    return "CPU" if device == "cpu" else f"GPU {device.partition(':')[2]}"


def _results(run: DeviceRun) -> Iterator[tuple[str, bool | None]]:
    """What was computed: `kernel`, then each kind with its formats or backends."""
    yield "kernel", run.kernel_right
    trials = run.trials or (Trial(name="matmul", right=run.matmul_right),)
    for kind in dict.fromkeys(item.name.partition(" ")[0] for item in trials):
        right = [item for item in trials if item.name.partition(" ")[0] == kind and item.right]
        forms = [item.name.partition(" ")[2] for item in right]
        named = f" {'/'.join(form for form in forms if form)}" if any(forms) else ""
        yield f"{kind}{named}", bool(right)


def _listed(words: list[str]) -> str:
    return " and ".join([part for part in (", ".join(words[:-1]), words[-1]) if part])


def _speeds(run: DeviceRun) -> str:
    """GB/s of the copies that arrived whole, from and to pinned memory and within the GPU."""
    return ", ".join(
        f"{item.name.removesuffix(', pinned')} {item.gigabytes_per_second:.3g} GB/s"
        for item in run.copies
        if item.right and item.gigabytes_per_second and not item.name.endswith("pageable")
    )


def _memory(run: DeviceRun) -> str:
    before, after = run.before, run.after
    if before.free is None or before.total is None:
        return ""
    free = f"{before.free / 2**30:.1f} of {before.total / 2**30:.1f} GiB free"
    if after.most_allocated is None or after.most_reserved is None:
        return free
    used = f"{after.most_allocated / 2**20:.0f} MiB used by the probe's tensors"
    return f"{free}; {used}, {after.most_reserved / 2**20:.0f} MiB reserved for them"


def _of_all_devices(probe: ProbeFacts | None) -> Iterator[tuple[str, str]]:
    """What was compiled, and what the GPUs did together."""
    for run in probe.compile if probe else ():
        if run.first.right and run.first.seconds is not None:
            again = run.second
            hit = "found in the cache" if again and again.hits else "compiled anew"
            second = f", then {again.seconds} s ({hit})" if again and again.right else ""
            yield f"torch.compile, {_device_label(run.device)}", f"{run.first.seconds} s{second}"
    tried = probe.all_reduce if probe else None
    ranks = tried.ranks if tried else ()
    if ranks and all(rank.right for rank in ranks):
        over = f"{len(ranks)} GPUs" if len(ranks) > 1 else "one GPU"
        yield "NCCL all-reduce", f"right over {over}, {max(r.seconds or 0 for r in ranks)} s"


def _gpu(name: str | None, capability: ComputeCapability | None, memory: int | None) -> str:
    size = f", {memory / 2**30:.0f} GiB" if memory else ""
    return f"{name} ({capability}){size}"
