"""Subjects to judge: a healthy one, and changes to it. Facts are built, nothing is looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.lock import LockedPackage, Target
from envforge.model.machine import Driver, Gpu, Machine
from envforge.model.prefix import InstalledPackage, PrefixState
from envforge.verify.facts import (
    Copy,
    CudnnWitness,
    DeviceRun,
    HostFacts,
    LibraryAnswer,
    PackageFacts,
    PrefixFacts,
    ProbeFacts,
    Subject,
    TorchFiles,
    TorchRun,
    Trial,
)

PREFIX = "/envs/nlp-bert-torch20-cu118"
H100 = Gpu(name="NVIDIA H100", capability=ComputeCapability(9, 0), memory_bytes=80 * 2**30)
V100 = Gpu(name="Tesla V100", capability=ComputeCapability(7, 0), memory_bytes=16 * 2**30)
TORCH_BUILD = "py3.10_cuda11.8_cudnn8.7.0_0"


def locked(name: str, version: str, build: str = "h0_0", **other: Any) -> LockedPackage:
    """A locked conda package, or with `manager="pip"` a wheel."""
    fields: dict[str, Any] = {
        "platform": "linux-64",
        "name": name,
        "version": version,
        "build": build if other.get("manager") != "pip" else "",
        "url": f"https://conda.anaconda.org/c/linux-64/{name}-{version}-{build}.conda",
        "sha256": "0" * 64,
    }
    return LockedPackage(**{**fields, **other})


def installed(package: LockedPackage) -> InstalledPackage:
    """The same package, as a prefix tells of it."""
    return InstalledPackage(
        name=package.name,
        manager=package.manager,
        version=package.version,
        build=package.build,
        sha256=package.sha256 if package.manager == "conda" else "",
    )


LOCKED = (
    locked("numpy", "1.26.4"),
    locked("python", "3.10.14"),
    locked("pytorch", "2.0.1", TORCH_BUILD),
    locked("einops", "0.8.0", manager="pip"),
)

TARGET = Target(
    torch="2.0.1",
    cuda=CudaVersion(11, 8),
    cudnn="8.7.0",
    python="3.10.14",
    source="pytorch",
    min_driver="450.80.02",
    architectures=("3.7", "5.0", "6.0", "7.0", "7.5", "8.0", "8.6", "9.0"),
)


def host(driver: str = "535.104.05", newest: str = "12.2", *gpus: Gpu, **changes: Any) -> HostFacts:
    """A machine with a driver that works, and one H100 unless others are given."""
    release = CudaVersion.parse(newest)
    version = release.major * 1000 + release.minor * 10
    gpus = gpus or (H100,)
    answer = LibraryAnswer(library="/usr/lib/libcuda.so.1", init=0, version=version, gpus=gpus)
    facts = HostFacts(
        machine=Machine(driver=Driver(version=driver, cuda=release), gpus=gpus),
        kernel_driver=driver,
        cuda=answer,
        nvml=replace(answer, library="/usr/lib/libnvidia-ml.so.1", driver=driver),
    )
    return replace(facts, **changes)


def no_driver(**changes: Any) -> HostFacts:
    """A machine without a GPU."""
    return HostFacts(machine=Machine(), **changes)


def prefix(**changes: Any) -> PrefixFacts:
    """A prefix that is as `LOCKED` says."""
    facts = PrefixFacts(
        prefix=PREFIX,
        real=PREFIX,
        state=PrefixState.INSTALLED,
        conda=tuple(installed(item) for item in LOCKED if item.manager == "conda"),
        wheels=tuple(installed(item) for item in LOCKED if item.manager == "pip"),
        interpreter=f"{PREFIX}/bin/python",
        torch=torch_files(),
        cudnn=(CudnnWitness(version="8.7.0", witness=f"build {TORCH_BUILD}"),),
        libraries={"libtorch_cuda.so": "lib/python3.10/site-packages/torch/lib"},
        modules=frozenset({"numpy", "torch", "einops"}),
        packages=PackageFacts(unlike=(), cache=()),
    )
    return replace(facts, **changes)


def torch_files(**changes: Any) -> TorchFiles:
    """What the files of torch 2.0.1 for CUDA 11.8 say."""
    facts = TorchFiles(
        package="lib/python3.10/site-packages/torch",
        version="2.0.1",
        cuda="11.8",
        has_cuda_library=True,
    )
    return replace(facts, **changes)


def torch_run(**changes: Any) -> TorchRun:
    """What torch 2.0.1 for CUDA 11.8 says once imported, on a machine with a GPU."""
    facts = TorchRun(
        version="2.0.1",
        file=f"{PREFIX}/lib/python3.10/site-packages/torch/__init__.py",
        cuda="11.8",
        cudnn_compiled="8.7.0",
        cudnn_loaded="8.7.0",
        nccl="2.15.5",
        architectures=("sm_37", "sm_70", "sm_80", "sm_90"),
        libraries=(
            "/lib/x86_64-linux-gnu/libc.so.6",
            f"{PREFIX}/lib/python3.10/site-packages/torch/lib/libtorch_cuda.so",
            "/usr/lib/x86_64-linux-gnu/libcuda.so.535.104.05",
        ),
        available=True,
        device_count=1,
    )
    return replace(facts, **changes)


def device(which: str = "cuda:0", **changes: Any) -> DeviceRun:
    """A device that computes right."""
    facts = DeviceRun(
        device=which,
        name=None if which == "cpu" else "NVIDIA H100",
        capability=None if which == "cpu" else ComputeCapability(9, 0),
        memory_bytes=None if which == "cpu" else 80 * 2**30,
        kernel_right=True,
        matmul_right=True,
        matmul_error=0.01,
        trials=trials(*(CPU_TRIALS if which == "cpu" else GPU_TRIALS)),
        copies=() if which == "cpu" else tuple(copy(name) for name in COPIES),
        libraries=() if which == "cpu" else CUDNN_PARTS,
    )
    # a test that says how the fp32 product went says it of the trial as well
    if "trials" not in changes and {"matmul_right", "ending", "kernel_right"} & changes.keys():
        changes["trials"] = _ended_early(facts.trials, changes)
    return replace(facts, **changes)


CPU_TRIALS = ("matmul fp32", "matmul bf16", "convolution", "attention")
GPU_TRIALS = (
    *("matmul fp32", "matmul tf32", "matmul fp16", "matmul bf16", "matmul fp8", "convolution"),
    *("attention flash", "attention efficient", "attention cudnn", "attention math", "PTX"),
)
COPIES = (
    *("host to device, pageable", "host to device, pinned", "device to device"),
    *("device to host, pageable", "device to host, pinned"),
)
CUDNN_PARTS = tuple(
    f"{PREFIX}/lib/libcudnn{part}.so.8" for part in ("", "_cnn_infer", "_ops_infer")
)


def trials(*names: str, **changes: Any) -> tuple[Trial, ...]:
    """Computations whose results were right; `matmul_fp16=Trial(…)` puts another in its place."""
    other = {name.replace("_", " "): trial for name, trial in changes.items()}
    return tuple(
        other.get(name) or Trial(name=name, right=True, worst=0.01, seconds=0.01) for name in names
    )


def copy(name: str, speed: float = 20.0) -> Copy:
    """A copy that arrived whole."""
    return Copy(name=name, right=True, gigabytes_per_second=speed)


def _ended_early(done: tuple[Trial, ...], changes: dict[str, Any]) -> tuple[Trial, ...]:
    if changes.get("kernel_right", True) is not True or changes.get("matmul_right", True) is None:
        return ()
    if changes.get("matmul_right") is False:
        worst = changes.get("matmul_error", 3.5)
        return (Trial(name="matmul fp32", right=False, worst=worst), *done[1:])
    return done


def probe(**changes: Any) -> ProbeFacts:
    """A probe of a healthy environment on a machine with one GPU."""
    facts = ProbeFacts(
        level="live",
        python="3.10.14",
        executable=f"{PREFIX}/bin/python",
        prefix=PREFIX,
        torch=torch_run(),
        devices=(device("cpu"), device()),
    )
    return replace(facts, **changes)


def subject(**changes: Any) -> Subject:
    """A healthy environment for CUDA 11.8 on a machine with an H100, looked at to the bottom."""
    facts = Subject(
        name="nlp-bert-torch20-cu118",
        level="live",
        folder="nlp-bert-torch20-cu118",
        declared_name="nlp-bert-torch20-cu118",
        target=TARGET,
        locked=LOCKED,
        host=host(),
        prefix=prefix(),
        probe=probe(),
    )
    return replace(facts, **changes)
