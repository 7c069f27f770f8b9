"""Who holds GPU memory, asked of the stub driver as `envforge gpu` and `doctor` do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes.server import GIB
from fakes.stub_driver import H200, V100, stub_driver
from fakes.workplace import fake_workplace

from envforge.adapters.machine.machine_probe import LiveMachineProbe
from envforge.adapters.process import RealProcesses
from envforge.adapters.server import processes
from envforge.errors import InvalidValue
from envforge.forge.server import watching
from envforge.model.gpu_memory import GpuReport


def look(tmp_path: Path, env: Mapping[str, str], seconds: float = 0.05) -> GpuReport:
    workplace = fake_workplace(tmp_path)
    workplace.__dict__["live_probe"] = LiveMachineProbe(RealProcesses(), {**os.environ, **env})
    return watching.look(workplace, seconds=seconds)


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stub counts processes as we do, also where the tests run in a container."""
    monkeypatch.setattr(processes, "_is_in_container", lambda _: False)


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process of ours that does nothing."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child.pid
        child.communicate(b"\n")


def test_who_holds_memory_and_who_uses_it(tmp_path: Path, sleeper: int) -> None:
    """Largest first, with user and program where they are in sight."""
    driver = stub_driver(
        gpus=[H200, V100],
        states=[
            {
                "processes": f"{sleeper}:{40 * GIB}:python3,{2**22 + 5}:{GIB}:",
                "usage": f"{2**22 + 5}:35",
                "busy": 40,
                "reserved": GIB // 2,
                "free": H200[2] - 41 * GIB - GIB // 2,
            },
            {"usage": "-", "busy": 0},
        ],
    )

    report = look(tmp_path, driver)

    assert report.driver == "535.104.05"
    first, second = report.gpus
    assert first.holders is not None
    mine, other = first.holders
    assert (mine.pid, mine.use, mine.percent, mine.memory_bytes) == (sleeper, "idle", 0, 40 * GIB)
    assert mine.process is not None
    assert mine.process.uid == os.getuid()
    assert mine.why_not == "it was not started by `envforge gpu -- CMD`"
    assert (other.use, other.percent, other.process) == ("busy", 35, None)
    assert (first.busy, first.driver_reserved, first.unaccounted) == (40, GIB // 2, 0)
    assert (second.holders, second.busy) == ((), 0)
    [finding] = report.findings
    assert finding.check == "memory-held-idle"
    assert finding.remedy == f"kill {sleeper}  # if it is not needed"


def test_an_older_driver_tells_less(tmp_path: Path, sleeper: int) -> None:
    """Neither samples by process nor what it keeps for itself: nobody is accused."""
    driver = stub_driver(
        states=[{"processes": f"{sleeper}:{GIB}:python3", "busy": 7}],
        missing=("nvmlDeviceGetProcessUtilization", "nvmlDeviceGetMemoryInfo_v2"),
    )

    [gpu] = look(tmp_path, driver).gpus

    assert gpu.driver_reserved is None
    assert gpu.holders is not None
    assert (gpu.holders[0].use, gpu.holders[0].percent) == ("unknown", None)


def test_a_gpu_that_is_cut_up_and_one_that_is_lost(tmp_path: Path) -> None:
    driver = stub_driver(
        gpus=[H200, H200], states=[{"slices": f"MIG-1:1g.18gb:{GIB}:{GIB}"}, {"lost": 15}]
    )

    cut, lost = look(tmp_path, driver).gpus

    assert (cut.is_cut, cut.busy) == (True, None)
    assert "GPU is lost" in lost.error
    assert lost.holders is None


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ({"nvml": 999}, "NVML does not start: Unknown Error (NVML error 999)"),
        ({"libraries": ("libcuda.so.1",)}, "NVML cannot be loaded: "),
    ],
)
def test_a_broken_nvml_is_a_problem(tmp_path: Path, broken: dict[str, Any], problem: str) -> None:
    report = look(tmp_path, stub_driver(**broken))

    assert report.problem.startswith(problem)
    assert report.gpus == ()


def test_without_a_driver_there_is_nothing_to_tell(tmp_path: Path) -> None:
    """The fake's machine has none."""
    report = watching.look(fake_workplace(tmp_path), seconds=5)

    assert (report.driver, report.problem, report.gpus) == (None, "", ())


@pytest.mark.parametrize("seconds", [-1, 601, float("nan")])
def test_a_time_that_makes_no_sense_is_refused(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(InvalidValue, match="between 0 and 600"):
        watching.look(fake_workplace(tmp_path), seconds=seconds)


def test_what_the_allocator_of_a_program_keeps(tmp_path: Path) -> None:
    """The whole way: started by `envforge gpu -- CMD`, seen by `envforge gpu`."""
    (tmp_path / "site/torch/cuda").mkdir(parents=True)
    (tmp_path / "site/torch/__init__.py").write_text("__version__ = '2.7.1'\n")
    (tmp_path / "site/torch/cuda/__init__.py").write_text(_CUDA)
    program = "import torch.cuda; torch.cuda.init(); print(flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-m", "envforge", "gpu", "--", sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        states = [{"processes": f"{child.pid}:{9 * GIB}:python3", "usage": f"{child.pid}:9"}]
        report = look(tmp_path, stub_driver(states=states))
        child.communicate(b"\n")

    [gpu] = report.gpus
    assert gpu.holders is not None
    memory = gpu.holders[0].allocator
    assert memory is not None
    assert (memory.allocated, memory.cached, memory.releasable) == (2 * GIB, 6 * GIB, 5 * GIB)
    assert "memory-cached" in [item.check for item in report.findings]


_CUDA = f"""
G = {GIB}
def _lazy_call(callable, **given):
    globals().setdefault("queue", []).append(callable)
def init():
    for call in queue:
        call()
def memory_snapshot(include_traces=True):
    free, used = {{"state": "inactive"}}, {{"state": "active_allocated"}}
    return [
        {{"device": 0, "total_size": 3 * G, "allocated_size": 2 * G,
         "blocks": [{{"size": 2 * G, **used}}, {{"size": G, **free}}]}},
        {{"device": 0, "total_size": 5 * G, "allocated_size": 0,
         "blocks": [{{"size": 5 * G, **free}}]}},
    ]
def memory_stats(device):
    return {{}}
def get_device_properties(device):
    return object()
"""
