"""`ports.MachineProbe` on the stub driver, and on machines without one."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes.stub_driver import H200, V100, stub_driver

from envforge.adapters.host_facts import described_host_facts, host_facts, module_names
from envforge.adapters.machine_probe import DriverLook, LiveMachineProbe, driver_may_be_here
from envforge.adapters.process import RealProcesses
from envforge.errors import ToolFailed
from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.machine import Machine
from envforge.ports import Completed, MachineProbe


class NoProcesses:
    """Refuses to start anything."""

    def run(self, command: Sequence[str], **options: Any) -> Completed:
        raise AssertionError(f"started {command}")


class BadProcesses:
    """Starts nothing, and says so or answers nonsense."""

    def __init__(self, answer: Completed | Exception) -> None:
        self._answer = answer

    def run(self, command: Sequence[str], **options: Any) -> Completed:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def live(env: Mapping[str, str], root: Path = Path("/"), timeout: float = 20) -> LiveMachineProbe:
    return LiveMachineProbe(RealProcesses(), {**os.environ, **env}, root=root, timeout=timeout)


def test_driver_and_gpus_are_seen() -> None:
    """Version, its CUDA, and each GPU with capability and memory."""
    probe: MachineProbe = live(stub_driver(driver="550.54.14", cuda="12.4", gpus=[H200, V100]))

    machine = probe.look()

    assert machine.driver is not None
    assert (machine.driver.version, machine.driver.cuda) == ("550.54.14", CudaVersion(12, 4))
    assert [gpu.name for gpu in machine.gpus] == [H200[0], V100[0]]
    assert machine.gpus[0].capability == ComputeCapability(9, 0)
    assert machine.gpus[0].memory_bytes == H200[2]
    assert machine.origin == "live"


def test_without_any_sign_of_a_driver_nothing_is_started(tmp_path: Path) -> None:
    """And it costs milliseconds."""
    begun = time.perf_counter()
    machine = LiveMachineProbe(NoProcesses(), {}, root=tmp_path).look()

    assert machine == Machine()
    assert time.perf_counter() - begun < 0.1


@pytest.mark.parametrize(
    "sign", ["proc/driver/nvidia/version", "dev/dxg", "usr/lib/wsl/lib/libcuda.so.1"]
)
def test_signs_of_a_driver(tmp_path: Path, sign: str) -> None:
    """The kernel module, or WSL."""
    assert not driver_may_be_here({}, tmp_path)
    (tmp_path / sign).parent.mkdir(parents=True)
    (tmp_path / sign).touch()
    assert driver_may_be_here({}, tmp_path)


def test_the_loaders_cache_is_a_sign(tmp_path: Path) -> None:
    """By the library's full name, not libcuda.so of a toolkit's stubs."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "ld.so.cache").write_bytes(b"\0libcuda.so\0libcudart.so.12\0")
    assert not driver_may_be_here({}, tmp_path)
    (tmp_path / "etc" / "ld.so.cache").write_bytes(b"\0libcuda.so.1\0")
    assert driver_may_be_here({}, tmp_path)


def test_a_hung_driver_is_left_after_the_time_limit() -> None:
    """NVML still answers, and says what driver it is."""
    look = live(stub_driver(hang=60), timeout=0.5).driver

    assert look.cuda.ended == "timeout"
    assert look.cuda.stage == "cuInit"
    assert look.machine.driver is not None
    assert [gpu.name for gpu in look.machine.gpus] == [H200[0]]


def test_a_driver_that_ends_the_process_is_survived() -> None:
    """It is told by its signal."""
    look = live(stub_driver(crash=True)).driver
    assert look.cuda.ended == "signal 6"
    assert look.nvml.works


def test_a_hung_nvml_is_left_too() -> None:
    """CUDA still answers."""
    look = live(stub_driver(nvml_hang=60), timeout=0.5).driver
    assert look.nvml.ended == "timeout"
    assert look.cuda.works
    assert look.machine.driver is not None


@pytest.mark.parametrize(
    ("code", "name"), [(802, "SYSTEM_NOT_READY"), (999, "UNKNOWN"), (46, "46")]
)
def test_error_codes_are_kept(code: int, name: str) -> None:
    """With the library's own name for them."""
    look = live(stub_driver(cuinit=code)).driver
    assert look.cuda.init == code
    assert look.cuda.init_name.endswith(name)
    assert look.machine.has_gpu


def test_visible_devices_decide_which_gpus_count() -> None:
    """All are the machine's where the variable hides every one."""
    some = live(stub_driver(gpus=[H200, V100], visible="1")).driver
    assert [gpu.name for gpu in some.machine.gpus] == [V100[0]]
    assert len(some.nvml.gpus) == 2
    hidden = live(stub_driver(gpus=[H200, V100], visible="")).driver
    assert hidden.cuda.init == 100
    assert len(hidden.machine.gpus) == 2


def test_a_library_without_a_kernel_module_is_no_driver() -> None:
    """An image built with libcuda in it, on a machine without a GPU."""
    look = live(stub_driver(cuinit=100, libraries=["libcuda.so.1"])).driver
    assert look.cuda.library is not None
    assert look.machine == Machine()


def test_a_kernel_module_without_libraries_is_a_driver(tmp_path: Path) -> None:
    """A container that was given the device and not the libraries."""
    report = tmp_path / "proc" / "driver" / "nvidia" / "version"
    report.parent.mkdir(parents=True)
    report.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat\nGCC\n")

    look = live(stub_driver(libraries=[]), root=tmp_path).driver

    assert look.kernel == "535.104.05"
    assert look.cuda.library is None
    assert look.machine.driver is not None
    assert look.machine.driver.version == "535.104.05"


@pytest.mark.parametrize(
    "answer",
    [
        Completed(status=0, stdout="nonsense", stderr=""),
        ToolFailed(command=("python",), status="timeout", output=""),
        OSError(13, "no"),
    ],
)
def test_a_child_that_cannot_be_asked_is_no_reason_to_raise(answer: Completed | Exception) -> None:
    """It is told as an answer that never came."""
    probe = LiveMachineProbe(BadProcesses(answer), stub_driver())
    assert probe.driver.cuda.ended == "error"
    assert probe.look() == Machine()


def test_it_looks_once() -> None:
    """The second question costs nothing."""
    probe = live(stub_driver())
    assert probe.driver is probe.driver


def test_host_facts_keep_only_variables_that_matter(tmp_path: Path) -> None:
    """Everything else may be private."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "__pycache__").mkdir()
    for name in ("ros.py", "fast.cpython-310-x86_64-linux-gnu.so", "notes.txt", "x-1.dist-info"):
        (tmp_path / name).touch()
    env = {"PYTHONPATH": f"{tmp_path}::/nonexistent", "HF_TOKEN": "secret", "LD_PRELOAD": "x.so"}

    facts = host_facts(DriverLook(), env)

    assert set(facts.variables) == {"PYTHONPATH", "LD_PRELOAD"}
    assert facts.pythonpath == {
        str(tmp_path): frozenset({"numpy", "ros", "fast"}),
        "/nonexistent": frozenset(),
    }
    assert facts.machine == Machine()
    assert module_names(str(tmp_path / "ros.py")) == frozenset()


def test_a_described_machine_is_not_looked_at() -> None:
    """It only carries what was told."""
    machine = Machine(origin="described")
    assert described_host_facts(machine).machine is machine
