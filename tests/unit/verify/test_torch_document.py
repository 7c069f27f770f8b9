"""What the probe says of the interpreter, of torch and of each device becomes facts."""

from __future__ import annotations

from typing import Any

import pytest

from envforge.verify.facts import CompileStep, DeviceMemory
from envforge.verify.torch_document import Garbled, probe_facts

ERROR = {"type": "ImportError", "message": "libfoo", "traceback": "Traceback …"}
GPU = {
    "device": "cuda:0",
    "visible": "GPU-1",
    "capability": [9, 0],
    "memory": 2**37,
    "kernel": {"right": True},
    "matmul": {"right": False, "worst": 3.5},
    "trials": [
        {"name": "matmul fp32", "right": False, "worst": 3.5, "seconds": 0.1},
        {"name": "matmul fp8", "skipped": "too old", "seconds": 0.0},
        {"name": "convolution", "error": ERROR, "seconds": 0.0},
    ],
    "copies": [
        {"name": "device to device", "right": True, "gigabytes_per_second": 1800.5, "bytes": 4},
        {"name": "host to device, pinned", "error": ERROR},
    ],
    "memory_before": {"free": 10, "total": 20, "allocated": 0},
    "libraries": ["/p/lib/libcudnn.so.9"],
    "ended": "done",
}


def test_the_interpreter_and_torch() -> None:
    """What each child emitted, and how it ended."""
    facts = probe_facts(
        {
            "python": {
                "version": "3.10.1",
                "executable": "/p/bin/python",
                "prefix": "/p",
                "base_prefix": "/b",
                "include": "/b/include/python3.10",
                "path": ["/b/lib"],
                "user_site": "/home/x/.local",
            },
            "ssl": {"ended": "done", "stage": "import ssl", "seconds": 0.01},
            "torch": {
                "version": "2.0.1",
                "ended": "done",
                "architectures": ["sm_80"],
                "libraries": ["/p/libgomp.so.1", "/p/libtorch.so", "/p/libiomp5.so"],
                "import_warnings": ["UserWarning: Failed to initialize NumPy"],
                "modules": {"numpy": "/p/numpy/__init__.py", "odd": None},
                "numpy": {"version": "2.1.0", "file": "/p/numpy/__init__.py", "error": ERROR},
                "seconds": 1,
                "output": "hello",
            },
        },
        "import",
    )

    assert (facts.base_prefix, facts.include) == ("/b", "/b/include/python3.10")
    assert (facts.path, facts.user_site) == (("/b/lib",), "/home/x/.local")
    assert facts.ssl is not None
    assert facts.ssl.name == "ssl"
    torch = facts.torch
    assert torch is not None
    assert torch.architectures == ("sm_80",)
    assert torch.openmp_runtimes == ("/p/libgomp.so.1", "/p/libiomp5.so")
    assert torch.modules == {"numpy": "/p/numpy/__init__.py"}
    assert torch.numpy is not None
    assert (torch.numpy.bridge, torch.numpy.error) == (None, "ImportError: libfoo")
    assert (torch.seconds, torch.output) == (1.0, "hello")


def test_devices() -> None:
    """Trials, copies and memory of each."""
    failed = {"ended": "timeout", "stage": "start CUDA", "output": "said"}
    facts = probe_facts({"devices": [GPU, failed]}, "live")

    [gpu] = facts.gpus
    assert (gpu.kernel_right, gpu.matmul_right, gpu.matmul_error) == (True, False, 3.5)
    assert [trial.right for trial in gpu.trials] == [False, None, None]
    assert [trial.skipped for trial in gpu.trials] == ["", "too old", ""]
    assert gpu.trials[2].error == "ImportError: libfoo"
    assert [item.gigabytes_per_second for item in gpu.copies] == [1800.5, None]
    assert gpu.before == DeviceMemory(free=10, total=20, allocated=0)
    assert gpu.after == DeviceMemory()
    assert (gpu.visible, gpu.libraries) == ("GPU-1", ("/p/lib/libcudnn.so.9",))
    assert facts.devices[1].ending.trace == "said"
    assert not facts.devices[1].ending.is_good


def test_an_exception_is_kept_with_its_traceback() -> None:
    """The sentence for the finding, the rest for a bug report."""
    facts = probe_facts({"torch": {"ended": "error", "error": ERROR}}, "import")
    assert facts.torch is not None
    assert facts.torch.ending.message == "ImportError: libfoo"
    assert facts.torch.ending.trace == "Traceback …"
    assert probe_facts({}, "static").torch is None


def test_imports_after_torch() -> None:
    """Each module's own ending, and that of the process which imported torch for them."""
    runs = [{"name": "peft", "ended": "error", "error": ERROR}, {"name": "triton", "version": "3"}]
    facts = probe_facts({"imports": {"ended": "done", "runs": runs}}, "import")
    assert [(run.name, run.ending.ended) for run in facts.imports] == [
        ("peft", "error"),
        ("triton", "done"),
    ]
    assert facts.imports[1].version == "3"
    failed = probe_facts({"imports": {"ended": "signal 11"}}, "import")
    assert (failed.imports, failed.imports_ending.ended) == ((), "signal 11")


def test_compilation_and_all_gpus_together() -> None:
    """Counters of both caches are added up."""
    first = {"result": {"right": True}, "counters": {"fxgraph_cache_miss": 1}, "seconds": 9.5}
    second = {"counters": {"fxgraph_cache_hit": 1, "autograd_cache_hit": 1, "pad": 7}}
    rank = {"ended": "done", "right": True, "seconds": 0.5}
    document = {
        "compile": [
            {"device": "cpu", "first": first, "second": second},
            {"device": "cuda:0", "first": {"ended": "error"}},
        ],
        "all_reduce": {"world": 2, "runs": [[rank, {"ended": "timeout"}], [rank, rank]]},
    }
    facts = probe_facts(document, "live")

    cpu, gpu = facts.compile
    assert cpu.first == CompileStep(right=True, misses=1, seconds=9.5)
    assert cpu.second is not None
    assert (cpu.second.hits, cpu.second.misses) == (2, 0)
    assert gpu.second is None
    assert facts.all_reduce is not None
    assert [item.ending.ended for item in facts.all_reduce.ranks] == ["done", "timeout"]
    assert len(facts.all_reduce.without_p2p) == 2


@pytest.mark.parametrize(
    "document",
    [
        {"torch": "yes"},
        {"torch": {"version": 2}},
        {"torch": {"libraries": "all"}},
        {"torch": {"libraries": [1]}},
        {"torch": {"available": "no"}},
        {"torch": {"device_count": True}},
        {"devices": {}},
        {"devices": ["cuda:0"]},
        {"devices": [{"capability": [9]}]},
        {"devices": [{"capability": ["9", "0"]}]},
        {"devices": [{"matmul": {"worst": "big"}}]},
        {"devices": [{"matmul": {"worst": 10**400}}]},
        {"all_reduce": {}},
        {"all_reduce": {"runs": [1]}},
        {"python": []},
    ],
)
def test_what_no_probe_writes(document: dict[str, Any]) -> None:
    """An interpreter that is none may print anything between the markers."""
    with pytest.raises(Garbled):
        probe_facts(document, "live")
