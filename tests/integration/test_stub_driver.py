"""The stub driver by itself: what any ctypes client sees of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from fakes.stub_driver import H200, V100, library_folder, stub_driver

CLIENT = """
import ctypes
cuda, nvml = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1")
number, text = ctypes.c_int(), ctypes.create_string_buffer(80)
print("cuInit", cuda.cuInit(0), "nvmlInit", nvml.nvmlInit_v2())
cuda.cuDriverGetVersion(ctypes.byref(number)); print("cuda", number.value)
print("count", cuda.cuDeviceGetCount(ctypes.byref(number)), number.value)
for index in range(number.value):
    device = ctypes.c_int()
    if cuda.cuDeviceGet(ctypes.byref(device), index) == 0:
        cuda.cuDeviceGetName(text, 80, device)
        major, minor, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
        cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        print("gpu", text.value.decode(), major.value, minor.value, size.value)
if nvml.nvmlSystemGetDriverVersion(text, 80) == 0:
    print("driver", text.value.decode())
if nvml.nvmlDeviceGetCount_v2(ctypes.byref(number)) == 0:
    print("nvml count", number.value)
name = ctypes.c_char_p()
cuda.cuGetErrorName(802, ctypes.byref(name)); print(name.value.decode())
"""


def client(env: dict[str, str], program: str = CLIENT, timeout: float = 30) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_client_sees_the_driver_and_its_gpus() -> None:
    """Version, CUDA, name, capability and memory are as asked."""
    seen = client(stub_driver(driver="580.65.06", cuda="13.0", gpus=[H200, V100]))

    assert seen == [
        "cuInit 0 nvmlInit 0",
        "cuda 13000",
        "count 0 2",
        "gpu NVIDIA H200 9 0 150754820096",
        "gpu Tesla V100-SXM2-16GB 7 0 16945512448",
        "driver 580.65.06",
        "nvml count 2",
        "CUDA_ERROR_SYSTEM_NOT_READY",
    ]


def test_error_codes_are_returned_and_nothing_works_after_them() -> None:
    """cuInit 802 and NVML 18."""
    seen = client(stub_driver(cuinit=802, nvml=18))
    assert seen[0] == "cuInit 802 nvmlInit 18"
    assert seen[2].startswith("count 3 ")
    assert not [line for line in seen if line.startswith(("driver", "nvml count"))]


@pytest.mark.parametrize(
    ("visible", "result", "names"),
    [
        (None, 0, ["NVIDIA", "Tesla"]),
        ("1", 0, ["Tesla"]),
        ("1,0", 0, ["Tesla", "NVIDIA"]),
        ("0,9,1", 0, ["NVIDIA"]),
        ("", 100, []),
        ("-1", 100, []),
        ("NoDevFiles", 100, []),
    ],
)
def test_visible_devices_are_honoured(visible: str | None, result: int, names: list[str]) -> None:
    """As CUDA reads ordinals: the list ends at the first that does not exist."""
    seen = client(stub_driver(gpus=[H200, V100], visible=visible))

    assert seen[0] == f"cuInit {result} nvmlInit 0"
    assert [line.split()[1] for line in seen if line.startswith("gpu")] == names
    assert "nvml count 2" in seen


def test_a_machine_without_devices_has_no_device() -> None:
    """cuInit 100."""
    assert client(stub_driver(gpus=[]))[0] == "cuInit 100 nvmlInit 0"


def test_it_can_hang() -> None:
    """Until the client's own time limit."""
    with pytest.raises(subprocess.TimeoutExpired):
        client(stub_driver(hang=30), timeout=0.5)


def test_it_can_crash() -> None:
    """By SIGABRT."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        client(stub_driver(crash=True))
    assert caught.value.returncode == -6


def test_one_library_can_be_left_out() -> None:
    """A container without the capability `compute`."""
    env = stub_driver(libraries=["libnvidia-ml.so.1"])
    program = 'import ctypes; ctypes.CDLL("libnvidia-ml.so.1"); print("loaded")'
    assert client(env, program) == ["loaded"]
    with pytest.raises(subprocess.CalledProcessError):
        client(env, 'import ctypes; ctypes.CDLL("libcuda.so.1")')


def test_it_is_built_once() -> None:
    """Per process."""
    assert library_folder() is library_folder()


NVML_CLIENT = """
import ctypes
nvml, cuda = ctypes.CDLL("libnvidia-ml.so.1"), ctypes.CDLL("libcuda.so.1")
class Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]
class Process(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong),
                ("gpu", ctypes.c_uint), ("instance", ctypes.c_uint)]
nvml.nvmlErrorString.restype = ctypes.c_char_p
nvml.nvmlInit_v2()
handle, number, text = ctypes.c_void_p(), ctypes.c_uint(), ctypes.create_string_buffer(96)
print("handle", nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)))
print("uuid", nvml.nvmlDeviceGetUUID(handle, text, 96), text.value.decode())
memory = Memory()
print("memory", nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)), memory.free)
print("mode", nvml.nvmlDeviceGetComputeMode(handle, ctypes.byref(number)), number.value)
print("ecc", nvml.nvmlDeviceGetEccMode(handle, ctypes.byref(number), ctypes.byref(number)))
count, found = ctypes.c_uint(0), (Process * 4)()
ask = nvml.nvmlDeviceGetComputeRunningProcesses_v3
print("processes", ask(handle, ctypes.byref(count), None), count.value)
print("processes", ask(handle, ctypes.byref(count), found), found[0].pid, found[0].used)
print("link", [nvml.nvmlDeviceGetNvLinkState(handle, n, ctypes.byref(number)) for n in range(3)])
print("mig", nvml.nvmlDeviceGetMigMode(handle, ctypes.byref(number), ctypes.byref(number)))
print(nvml.nvmlErrorString(15).decode())
device, context = ctypes.c_int(), ctypes.c_void_p()
if cuda.cuInit(0) == 0:
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    print("context", cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
"""


def test_the_state_of_a_gpu_is_told_to_any_client() -> None:
    """In the structures of NVML's header."""
    state = {"free": 4096, "mode": 3, "processes": "7:5:x", "links": "2 2", "uuid": "GPU-x"}

    seen = client(stub_driver(states=[state]), NVML_CLIENT)

    assert seen == [
        "handle 0",
        "uuid 0 GPU-x",
        "memory 0 4096",
        "mode 0 3",
        "ecc 3",
        "processes 7 1",
        "processes 0 7 5",
        "link [0, 0, 2]",
        "mig 0",
        "GPU is lost",
        "context 46",
    ]


def test_entry_points_fail_hang_or_are_missing() -> None:
    """Each by its name."""
    one = (
        'import ctypes; n = ctypes.CDLL("libnvidia-ml.so.1"); n.nvmlInit_v2(); c = ctypes.c_uint()'
    )
    ask = f"{one}; print(n.nvmlDeviceGetCount_v2(ctypes.byref(c)))"
    assert client(stub_driver(errors={"nvmlDeviceGetCount_v2": 999}), ask) == ["999"]
    with pytest.raises(subprocess.TimeoutExpired):
        client(stub_driver(hangs={"nvmlDeviceGetCount_v2": 30}), ask, timeout=0.5)
    missing = stub_driver(missing=["nvmlDeviceGetCount_v2"])
    assert client(missing, f"{one}; print(hasattr(n, 'nvmlDeviceGetCount_v2'))") == ["False"]


def test_a_lost_gpu_has_no_handle() -> None:
    """15, and CUDA does not list it."""
    seen = client(stub_driver(gpus=[H200, V100], states=[{"lost": 15}, {}]))
    assert [line for line in seen if line.startswith("gpu")] == [
        "gpu Tesla V100-SXM2-16GB 7 0 16945512448"
    ]
    assert "handle 15" in client(stub_driver(states=[{"lost": 15}]), NVML_CLIENT)[0]


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("GPU-c0de0001", ["Tesla"]),
        ("GPU-c0de0001,0", ["Tesla", "NVIDIA"]),
        ("GPU-c0de", []),
        ("GPU-ff", []),
        ("0,0", []),
        ("1,GPU-c0de0001-", []),
    ],
)
def test_gpus_are_chosen_by_uuid(visible: str, names: list[str]) -> None:
    """Or its beginning, where that is of one GPU; twice the same is none."""
    seen = client(stub_driver(gpus=[H200, V100], visible=visible))
    assert [line.split()[1] for line in seen if line.startswith("gpu")] == names


def test_the_order_is_by_speed_unless_by_slot() -> None:
    """CUDA_DEVICE_ORDER."""
    env = stub_driver(gpus=[V100, H200])
    for order, first in (("FASTEST_FIRST", "NVIDIA"), ("PCI_BUS_ID", "Tesla")):
        seen = client({**env, "CUDA_DEVICE_ORDER": order})
        assert next(line for line in seen if line.startswith("gpu")).split()[1] == first


def test_the_files_can_carry_a_version() -> None:
    """As a driver installs them."""
    folder = library_folder(version="550.54.14")
    assert (folder / "libcuda.so.1").readlink().name == "libcuda.so.550.54.14"
