"""`ports.MachineProbe` on the stub driver, and on machines without one."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes.stub_driver import H200, V100, VGPU, stub_driver

from envforge.adapters.machine.host_facts import described_host_facts, host_facts, module_names
from envforge.adapters.machine.machine_probe import DriverLook, LiveMachineProbe, driver_may_be_here
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
    ("code", "name"),
    [(802, "SYSTEM_NOT_READY"), (999, "UNKNOWN"), (46, "DEVICE_UNAVAILABLE"), (47, "47")],
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


# --- what the witnesses tell of each GPU ----------------------------------------------------

DETAILS = {
    "uuid": "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
    "bus": "0001:AF:00.0",
    "free": 1 << 30,
    "mode": 3,
    "ecc": 1,
    "uncorrected": 2,
    "remap": "1 0",
    "throttle": 0x48,
    "processes": "4242:1073741824:/usr/bin/python3,4343:0:",
    "links": "16 18",
    "fabric": "3 0",
}


def test_everything_that_nvml_tells() -> None:
    """Of the GPU that has it; a plain one beside it tells little."""
    look = live(stub_driver(gpus=[V100, H200], states=[{}, DETAILS])).driver

    plain, state = look.nvml.states
    assert (state.uuid, state.bus_id) == (DETAILS["uuid"], "0001:af:00.0")
    assert (state.memory_bytes, state.free_bytes) == (H200[2], 1 << 30)
    assert (state.compute_mode, state.ecc, state.ecc_uncorrected) == ("exclusive-process", True, 2)
    assert (state.remap_pending, state.remap_failed) == (True, False)
    assert state.throttle == ("hw-slowdown", "hw-thermal")
    assert (state.links_active, state.links_total, state.fabric) == (16, 18, "completed")
    assert (state.virtual, state.mig, state.slices) == (False, False, ())
    assert state.processes is not None
    assert [(item.pid, item.memory_bytes, item.name) for item in state.processes] == [
        (4242, 1 << 30, "python3"),
        (4343, None, ""),
    ]
    assert (plain.ecc, plain.fabric, plain.links_total, plain.mig) == (None, None, None, None)
    assert (plain.throttle, plain.processes) == ((), ())


def test_libcuda_tells_which_gpu_is_which() -> None:
    """In its own order: the fastest first."""
    look = live(stub_driver(gpus=[V100, H200])).driver
    assert [state.name for state in look.cuda.states] == [H200[0], V100[0]]
    assert look.cuda.states[0].uuid_key == look.nvml.states[1].uuid_key
    assert look.cuda.states[0].bus_id == look.nvml.states[1].bus_id


def test_slices_are_listed_and_one_is_used() -> None:
    """Name and memory of the slice, capability of the GPU; its UUID is the same to both."""
    parts = "MIG-1b2c3d4e-0000-5111-8222-333344445555:NVIDIA H200 MIG 1g.18gb:900:800"
    look = live(stub_driver(states=[{"slices": parts}])).driver
    [part] = look.nvml.states[0].slices
    assert (part.memory_bytes, part.free_bytes) == (900, 800)
    assert look.nvml.states[0].mig
    [used] = look.cuda.states
    assert used.uuid_key == "1b2c3d4e-0000-5111-8222-333344445555"
    [gpu] = look.machine.gpus
    assert (gpu.name, gpu.memory_bytes) == ("NVIDIA H200 MIG 1g.18gb", 900)
    hidden = live(stub_driver(states=[{"slices": parts}], visible="")).driver
    assert hidden.machine.gpus[0].name == "NVIDIA H200 MIG 1g.18gb"


def test_licences_are_asked_of_virtual_gpus() -> None:
    """By NVML."""
    states = [{"virtual": 2, "license": 1}, {"virtual": 2, "license": 0}, {"virtual": 1}]
    found = live(stub_driver(gpus=[VGPU, VGPU, VGPU], states=states)).driver.nvml.states
    assert [state.license for state in found] == ["licensed", "unlicensed", None]
    assert [state.is_virtual for state in found] == [True, True, False]


def test_a_lost_gpu_keeps_the_others() -> None:
    """With NVML's words."""
    found = live(stub_driver(gpus=[H200, H200], states=[{"lost": 15}, {}])).driver.nvml.states
    assert (found[0].error_code, found[0].error) == (15, "GPU is lost (NVML error 15)")
    assert found[1].error == ""


def test_a_call_that_hangs_keeps_what_was_told_before() -> None:
    """The child is ended, and says where it was."""
    env = stub_driver(gpus=[H200, H200], hangs={"nvmlDeviceGetComputeMode": 60})
    nvml = live(env, timeout=1).driver.nvml
    assert (nvml.ended, nvml.stage) == ("timeout", "look at GPU 0")
    assert [state.name for state in nvml.states] == [H200[0], H200[0]]


@pytest.mark.parametrize("code", [3, 13, 999])
def test_functions_that_fail_leave_facts_out(code: int) -> None:
    """And the rest is told."""
    names = [
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetPciInfo_v3",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetGraphicsRunningProcesses_v3",
        "nvmlSystemGetCudaDriverVersion_v2",
        "cuDeviceGetUuid_v2",
        "cuDeviceGetPCIBusId",
    ]
    look = live(stub_driver(errors=dict.fromkeys(names, code))).driver
    [state] = look.nvml.states
    assert look.nvml.works
    assert (state.memory_bytes, state.uuid, state.bus_id, state.processes) == (None,) * 4
    assert state.error == ""
    assert (look.cuda.states[0].uuid, look.cuda.states[0].bus_id) == (None, None)


def test_older_entry_points_serve_where_newer_are_missing() -> None:
    """libcuda's first way to ask for a UUID."""
    look = live(stub_driver(missing=["cuDeviceGetUuid_v2", "cuGetErrorName"])).driver
    assert look.cuda.states[0].uuid == look.nvml.states[0].uuid
    none = live(stub_driver(missing=["nvmlInit_v2"])).driver
    assert none.nvml.init == 13
    assert live(stub_driver(missing=["cuInit"])).driver.cuda.ended == "error"


def test_the_names_of_files_tell_versions() -> None:
    """Of the file that was loaded, not of the link to it."""
    look = live(stub_driver(version="550.54.14")).driver
    assert look.cuda.loaded_version == "550.54.14"
    assert look.nvml.loaded_version == "550.54.14"


# --- a thorough look ------------------------------------------------------------------------


def test_a_thorough_look_makes_a_context_on_each_gpu() -> None:
    """Each in a child of its own, at the same time; the quick one makes none."""
    states = [{"context": 46}, {"context": "hang"}, {}]
    probe = live(stub_driver(gpus=[H200] * 3, states=states), timeout=1.5)
    assert [state.context_ended for state in probe.driver.cuda.states] == ["", "", ""]
    begun = time.monotonic()

    found = probe.thorough.cuda.states

    assert [(state.context, state.context_ended) for state in found] == [
        (46, "done"),
        (None, "timeout"),
        (0, "done"),
    ]
    assert found[0].context_name == "CUDA_ERROR_DEVICE_UNAVAILABLE"
    assert time.monotonic() - begun < 15


def test_an_older_way_to_make_a_context() -> None:
    """Where there are no primary contexts; where there is neither, nothing is claimed."""
    names = ("cuDevicePrimaryCtxRetain", "cuCtxCreate_v2")
    for count, code in ((1, 46), (2, None)):
        env = stub_driver(states=[{"context": 46}], missing=names[:count])
        [state] = live(env).thorough.cuda.states
        assert (state.context, state.context_ended) == (code, "done")


def test_a_thorough_look_is_the_look_from_then_on() -> None:
    """What it saw is what everybody sees."""
    probe = live(stub_driver())
    assert probe.thorough is probe.driver


def test_gpus_that_get_ready_while_we_wait(tmp_path: Path) -> None:
    """A thorough look asks again for some seconds; each time in a new process."""
    counter = tmp_path / "counter"
    env = {
        **stub_driver(cuinit=802),
        "STUB_CUINIT_TIMES": "1",
        "STUB_COUNTER": str(counter),
    }
    assert live(env).driver.cuda.init == 802
    counter.unlink()
    assert live(env).thorough.cuda.works
    assert counter.read_text().startswith("..")


def smi(folder: Path, text: str) -> dict[str, str]:
    """PATH with an nvidia-smi that prints this, and leaves a mark for each call."""
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "$*" >> {folder}/calls\ncat <<END\n{text}\nEND\n')
    program.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def test_nvidia_smi_is_asked_where_it_can_tell_something(tmp_path: Path) -> None:
    """By the quick look only where NVML does not work; by the thorough one always."""
    row = "0, NVIDIA H200, GPU-1f, 00000000:17:00.0, 535.104.05, 143771"
    path = smi(tmp_path / "bin", row)
    assert live({**stub_driver(), **path}).driver.smi.path is None
    assert live({**stub_driver(nvml=999), **path}).driver.smi.driver == "535.104.05"
    assert live({**stub_driver(), **path}).thorough.smi.driver == "535.104.05"


def test_nvidia_smi_is_asked_about_confidential_gpus_and_licences(tmp_path: Path) -> None:
    """At 802, and of virtual GPUs that tell nothing."""
    path = smi(tmp_path / "bin", "CC status: ON\nGPUs Ready state: not-ready")
    look = live({**stub_driver(cuinit=802), **path}).driver
    assert (look.smi.confidential, look.smi.ready) == (True, False)
    assert look.fabric is not None
    path = smi(tmp_path / "other", "License Status : Unlicensed")
    virtual = stub_driver(gpus=[VGPU], states=[{"virtual": 2}])
    assert live({**virtual, **path}).driver.smi.licenses == ((None, "unlicensed"),)


def test_the_kernel_modules_version_by_either_file(tmp_path: Path) -> None:
    """`/sys` where `/proc` tells none."""
    version = tmp_path / "sys/module/nvidia/version"
    version.parent.mkdir(parents=True)
    version.write_text("550.54.14\n")
    look = live(stub_driver(libraries=[]), root=tmp_path).driver
    assert look.kernel == "550.54.14"
    assert look.machine.driver is not None


def test_the_toolkits_stand_in_is_no_driver() -> None:
    """Code 34, as in images to build with."""
    assert live(stub_driver(cuinit=34, libraries=["libcuda.so.1"])).look() == Machine()


def test_mps_is_looked_at_where_it_matters(tmp_path: Path) -> None:
    """The variable, or CUDA's code."""
    assert live(stub_driver()).driver.mps is None
    named = {"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path)}
    assert live({**stub_driver(), **named}).driver.mps is not None
    assert live(stub_driver(cuinit=805)).driver.mps is not None
