"""Makes a CPU build of torch believe that it has GPUs: tensors for `cuda:N` lie on the CPU.

Imported by a `.pth` file when an interpreter starts. What is computed and what torch accepts as
arguments is real; clocks, memory and names are not. Devices come from libcuda (the stub driver).

`FAKE_GPU_FAULTS` breaks things: `name=how`, with commas between, where `name` is `kernel`,
`matmul`, `conv2d`, `attention`, `copy`, `pin` or `all_reduce`, and `how` is `wrong`, `nan`,
`crash`, `hang`, or the text of a CUDA error; `lost` in it ends the context.
"""

import ctypes
import importlib.abc
import importlib.machinery
import os
import signal
import sys
import time
from types import SimpleNamespace as Names

FAULTS = dict(
    item.partition("=")[::2] for item in os.environ.get("FAKE_GPU_FAULTS", "").split(",") if item
)
LOST = []


def visible():
    """(name, major, minor, bytes, uuid) of what libcuda lists."""
    found, cuda = [], ctypes.CDLL("libcuda.so.1")
    count, handle, text = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return found
    for index in range(count.value):
        major, minor, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
        cuda.cuDeviceGet(ctypes.byref(handle), index)
        cuda.cuDeviceGetName(text, len(text), handle)
        cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, handle)
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, handle)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(size), handle)
        known = {"name": text.value.decode(), "total_memory": size.value}
        found.append(Names(major=major.value, minor=minor.value, **known))
    return found


def fault(name, result):
    """What becomes of a result."""
    how = FAULTS.get(name)
    if how == "wrong":
        return result + 1
    if how == "nan":
        return result * float("nan")
    return result


def before(name):
    """What happens instead of a computation."""
    how = FAULTS.get(name)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "hang":
        time.sleep(3600)
    elif how and how not in ("wrong", "nan"):
        LOST.extend([how] if "lost" in how else [])
        raise RuntimeError(how)


def alive():
    if LOST:
        raise RuntimeError(LOST[0])


class Event:
    def __init__(self, enable_timing=False):
        self.at = 0.0

    def record(self):
        self.at = time.perf_counter()

    def elapsed_time(self, other):
        slow = float(os.environ.get("FAKE_GPU_SLOWER", "1"))
        return max((other.at - self.at) * 1000 * slow, 1e-6)


def change(torch):
    """Everything that needs a GPU, and the devices in arguments."""
    change_calls(torch)
    change_cuda(torch)
    change_distributed(torch.distributed)


def change_calls(torch):
    """From now on every call of torch goes through here."""
    from torch.overrides import TorchFunctionMode

    names = {
        torch.Tensor.matmul: "matmul",
        torch._scaled_mm: "matmul",
        torch.nn.functional.conv2d: "conv2d",
        torch.nn.functional.scaled_dot_product_attention: "attention",
        torch.Tensor.copy_: "copy",
        torch.Tensor.sum: "kernel",
        torch.Tensor.pin_memory: "pin",
    }
    from_gpu = (torch.Tensor.cpu, torch.Tensor.item)

    class OnCpu(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            args, kwargs, on_gpu = without_gpu(args, kwargs or {})
            name = names.get(function)
            if name == "pin":
                before(name)
                return args[0].clone()
            if name and on_gpu:
                before(name)
            result = function(*args, **kwargs)
            if not on_gpu or not isinstance(result, torch.Tensor) or function in from_gpu:
                return result
            result = result.clone() if any(result is item for item in args) and not name else result
            if name == "copy":  # in place
                return result.add_(1) if FAULTS.get(name) == "wrong" else result
            result = fault(name, result)
            result.on_gpu = True
            return result

    OnCpu().__enter__()


def without_gpu(args, kwargs):
    """The same arguments for the CPU, and whether they are about a GPU."""
    given = [*args, *kwargs.values()]
    about = any(is_gpu(item) or getattr(item, "on_gpu", False) for item in given)
    named = {key: "cpu" if is_gpu(item) else item for key, item in kwargs.items()}
    return tuple("cpu" if is_gpu(item) else item for item in args), named, about


def is_gpu(item):
    return isinstance(item, str) and item.startswith("cuda")


def change_cuda(torch):
    free = int(os.environ.get("FAKE_GPU_FREE", str(70 << 30)))
    torch.version.cuda = "13.0"
    torch._C._cuda_getArchFlags = lambda: "sm_80 sm_90 compute_90"
    cuda = torch.cuda
    cuda.is_available = lambda: bool(visible())
    cuda.device_count = lambda: len(visible())
    cuda.set_device = lambda device: None
    cuda.get_device_properties = lambda device: visible()[int(str(device).rpartition(":")[2])]
    cuda.synchronize = lambda device=None: alive()
    cuda.mem_get_info = lambda device=None: (free, 80 << 30)
    cuda.Event = Event
    cuda.nccl = Names(version=lambda: (2, 27, 5))


def change_distributed(distributed):
    """gloo in place of NCCL."""
    start, reduce = distributed.init_process_group, distributed.all_reduce
    distributed.is_nccl_available = lambda: True
    distributed.init_process_group = lambda backend, **how: start("gloo", **how)

    def all_reduce(tensor):
        if not (FAULTS.get("all_reduce") == "hang-p2p" and os.environ.get("NCCL_P2P_DISABLE")):
            before("all_reduce" if FAULTS.get("all_reduce") != "hang-p2p" else "p2p")
        reduce(tensor)
        if FAULTS.get("all_reduce") == "wrong":
            tensor.add_(1)

    distributed.all_reduce = all_reduce


if FAULTS.get("all_reduce") == "hang-p2p":
    FAULTS["p2p"] = "hang"


class Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        change(module)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = Loader(spec.loader)
        return spec


sys.meta_path.insert(0, Finder())
