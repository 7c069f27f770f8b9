"""What was seen, as rows."""

from __future__ import annotations

from dataclasses import replace

from fakes.facts import device, probe, subject, torch_run

from envforge.verify.facts import (
    AllReduce,
    CompileRun,
    CompileStep,
    DeviceMemory,
    NumpyRun,
    ProbeFacts,
    Rank,
)
from envforge.verify.proven import proven


def rows(facts: ProbeFacts) -> dict[str, str]:
    return proven(subject(probe=facts))


def test_what_each_device_computed() -> None:
    """Kinds, with the formats and backends of each that were right."""
    found = rows(probe())
    assert found["GPU 0"] == (
        "NVIDIA H100 (9.0), 80 GiB: kernel, matmul fp32/tf32/fp16/bf16/fp8, convolution,"
        " attention flash/efficient/cudnn/math and PTX right"
    )
    assert found["CPU"] == "kernel, matmul fp32/bf16, convolution and attention right"
    assert found["GPU 0 copies"] == (
        "host to device 20 GB/s, device to device 20 GB/s, device to host 20 GB/s"
    )
    kernel_alone = rows(probe(devices=(device(trials=(), matmul_right=None),)))
    assert kernel_alone["GPU 0"].endswith(": kernel right")


def test_memory() -> None:
    """As the driver counts it, and as torch does."""
    before = DeviceMemory(free=70 * 2**30, total=80 * 2**30)
    after = replace(before, most_allocated=130 * 2**20, most_reserved=150 * 2**20)
    run = device(before=before, after=after)
    assert rows(probe(devices=(run,)))["GPU 0 memory"] == (
        "70.0 of 80.0 GiB free; 130 MiB used by the probe's tensors, 150 MiB reserved for them"
    )
    older = device(before=before)
    assert rows(probe(devices=(older,)))["GPU 0 memory"] == "70.0 of 80.0 GiB free"


def test_compilation() -> None:
    """And whether the second process found what the first one had compiled."""
    first = CompileStep(right=True, seconds=16.0, misses=1)
    second = CompileStep(right=True, seconds=2.5, hits=1)
    label = "torch.compile, GPU 0"

    def row(*steps: CompileStep) -> str | None:
        run = CompileRun(device="cuda:0", first=steps[0], second=steps[1] if steps[1:] else None)
        return rows(probe(compile=(run,))).get(label)

    assert row(first, second) == "16.0 s, then 2.5 s (found in the cache)"
    assert row(first, replace(second, hits=0)) == "16.0 s, then 2.5 s (compiled anew)"
    assert row(first) == "16.0 s"
    assert row(replace(first, right=False)) is None


def test_all_gpus_together() -> None:
    good, bad = Rank(right=True, seconds=0.5), Rank(right=False)
    label = "NCCL all-reduce"
    both = probe(all_reduce=AllReduce(ranks=(good, good)))
    assert rows(both)[label] == "right over 2 GPUs, 0.5 s"
    assert rows(probe(all_reduce=AllReduce(ranks=(good,))))[label] == "right over one GPU, 0.5 s"
    assert label not in rows(probe(all_reduce=AllReduce(ranks=(good, bad))))


def test_numpy() -> None:
    numpy = NumpyRun(version="1.26.4", bridge=True)
    found = rows(probe(torch=torch_run(numpy=numpy)))
    assert found["NumPy"] == "1.26.4, exchanges arrays with torch"
    assert "NumPy" not in rows(probe(torch=torch_run(numpy=replace(numpy, bridge=None))))
