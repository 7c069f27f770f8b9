"""What `import torch` finds in the end-to-end tests: small, but it computes.

Packed as `torch/__init__.py`. It asks the driver through libcuda as torch does, and its tensors
are lists of Python floats, rounded to the type they claim; whole numbers in a row stay a `range`.

`STUB_TORCH` breaks it on GPUs: `name=how`, with commas between, where `name` is `kernel`,
`matmul` (`matmul float16` for one format), `convolution`, `attention`, `copy`, `pin`, `slow`,
`all_reduce` or `numpy`, and `how` is `wrong`, `nan`, `crash`, `hang`, or the text of an error; with
`lost` in it the GPU does not answer from then on. `cpu kernel` is the CPU's, and with `compile`
there is a torch.compile, which is `right`, `wrong`, `forgetful`, or raises what it says.
`STUB_TORCH_CUDNN` is a library that a convolution loads, `STUB_TORCH_NVRTC` one that is loaded at
once.
"""

import ctypes
import math
import operator
import os
import signal
import struct
import sys
import time
from array import array
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from types import SimpleNamespace as Names

from torch import version

__version__ = version.__version__
int32, int64, float16, bfloat16 = "int32", "int64", "float16", "bfloat16"
float32, float64, float8_e4m3fn = "float32", "float64", "float8_e4m3fn"

_FAULTS = dict(
    item.partition("=")[::2] for item in os.environ.get("STUB_TORCH", "").split(",") if item
)
_lost = []


def _bfloat(value):
    [bits] = struct.unpack("<I", struct.pack("<f", value))
    bits += 0x7FFF + (bits >> 16 & 1)
    return struct.unpack("<f", struct.pack("<I", bits & 0xFFFF0000))[0]


def _e4m3(value):
    if not value:
        return 0.0
    step = 2.0 ** max(math.frexp(value)[1] - 4, -9)
    return round(value / step) * step


def _rounded(values, dtype):
    if dtype == float32:
        return list(array("f", values))
    if dtype == float16:
        return [struct.unpack("<e", struct.pack("<e", value))[0] for value in values]
    if dtype in (bfloat16, float8_e4m3fn):
        return [(_bfloat if dtype == bfloat16 else _e4m3)(value) for value in values]
    return values if isinstance(values, range) else list(values)


class Tensor:
    """Up to four dimensions, kept row by row."""

    def __init__(self, values, shape, dtype, device="cpu"):
        self.values = _rounded(values, dtype)
        self.shape, self.dtype, self.device = shape, dtype, device

    def _like(self, values, shape=None):
        return Tensor(values, shape or self.shape, self.dtype, self.device)

    def _each(self, function):
        return self._like(map(function, self.values))

    def _with(self, other, function):
        if isinstance(other, Tensor):
            return self._like(map(function, self.values, other.values))
        return self._each(lambda value: function(value, other))

    def __mul__(self, other):
        return self._with(other, operator.mul)

    __rmul__ = __mul__

    def __add__(self, other):
        return self._with(other, operator.add)

    def __sub__(self, other):
        return self._with(other, operator.sub)

    def __truediv__(self, other):
        return self._with(other, operator.truediv)

    def __iter__(self):
        return iter(self.values)

    def __getitem__(self, index):
        return self.values[index]

    def matmul(self, other):
        return _told("matmul", self._product(other), self.dtype)

    def _product(self, other):
        width, columns = (
            self.shape[1],
            [other.values[at :: other.shape[1]] for at in range(other.shape[1])],
        )
        rows = [self.values[at : at + width] for at in range(0, len(self.values), width)]
        values = [sum(map(operator.mul, row, column)) for row in rows for column in columns]
        return self._like(values, (len(rows), len(columns)))

    def t(self):
        rows, columns = self.shape
        return self._like(
            [self.values[r * columns + c] for c in range(columns) for r in range(rows)],
            (columns, rows),
        )

    def __float__(self):
        return float(self.values[0])

    def reshape(self, *shape):
        return self._like(self.values, shape)

    def to(self, where):
        if "float" in where:
            return Tensor(self.values, self.shape, where, self.device)
        return Tensor(self.values, self.shape, self.dtype, where)

    def cpu(self):
        return self.to("cpu")

    def abs(self):
        return self._each(abs)

    def sum(self):
        return _told("kernel", self._like([sum(self.values)], (1,)))

    def max(self):
        bad = [value for value in self.values if math.isnan(value)]
        return self._like([bad[0] if bad else max(self.values)], (1,))

    def min(self):
        return self._like([min(self.values)], (1,))

    def item(self):
        return self.values[0]

    def numel(self):
        return len(self.values)

    def contiguous(self):
        return self

    detach = requires_grad_ = contiguous

    def numpy(self):
        _before("numpy")
        return self.values

    def data_ptr(self):
        """Whole numbers only: a place where they lie one behind the other, and are read from."""
        self.values = (ctypes.c_int * len(self.values))(*self.values)
        return ctypes.addressof(self.values)

    def pin_memory(self):
        _before("pin")
        return self

    def zero_(self):
        self.values = range(0)

    def copy_(self, other, non_blocking=False):
        _before("copy")
        self.values = range(1) if _FAULTS.get("copy") == "wrong" else other.values


def _before(name):
    """What happens instead of a computation on a GPU."""
    how = _FAULTS.get(name)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "hang":
        time.sleep(3600)
    elif how and how not in ("wrong", "nan"):
        _lost.extend([how] if "lost" in how else [])
        raise RuntimeError(how)


def _told(name, result, form=""):
    """A GPU's result, or what is to become of it."""
    if result.device == "cpu" and name != "kernel":
        return result
    for fault in ("cpu kernel",) if result.device == "cpu" else (name, f"{name} {form}"):
        _before(fault)
        if _FAULTS.get(fault) in ("wrong", "nan"):
            off = 1 if _FAULTS[fault] == "wrong" else math.nan
            result = result + off
    return result


def from_numpy(array):
    return Tensor(array, (len(array),), float32)


def arange(*limits, dtype=int64, device="cpu"):
    numbers = range(*limits)
    return Tensor(numbers, (len(numbers),), dtype, device)


def full(shape, value, device="cpu", dtype=float32):
    return Tensor([value] * math.prod(shape), shape, dtype, device)


def zeros(*shape, dtype=float32, device="cpu"):
    return full(shape, 0, device, dtype)


def ones(*shape, dtype=float32, device="cpu"):
    return full(shape, 1, device, dtype)


def empty_like(other):
    return Tensor(range(0), other.shape, other.dtype, other.device)


def equal(one, other):
    return one.values == other.values


def sin(tensor):
    return tensor._each(math.sin)


def cos(tensor):
    return tensor._each(math.cos)


def softmax(tensor, dim):
    width = tensor.shape[1]
    values = [math.exp(value) for value in tensor.values]
    sums = [sum(values[at : at + width]) for at in range(0, len(values), width)]
    return tensor._like(value / sums[at // width] for at, value in enumerate(values))


def _scaled_mm(left, right, *, scale_a, scale_b, out_dtype):
    found = Tensor(
        left._product(right).values, (left.shape[0], right.shape[1]), out_dtype, left.device
    )
    return _told("matmul", found, left.dtype)


def _pairs(images, weights):
    """Where each product of a padded 3 x 3 convolution comes from and goes to."""
    count, inner, height, width = images.shape
    for n in range(count):
        for o in range(weights.shape[0]):
            for y in range(height):
                for x in range(width):
                    to = ((n * weights.shape[0] + o) * height + y) * width + x
                    for i in range(inner):
                        for dy in range(max(0, 1 - y), min(3, height + 1 - y)):
                            for dx in range(max(0, 1 - x), min(3, width + 1 - x)):
                                at = ((n * inner + i) * height + y + dy - 1) * width + x + dx - 1
                                yield to, at, ((o * inner + i) * 3 + dy) * 3 + dx


def _conv2d(images, weights, padding):
    if images.device != "cpu":
        for path in filter(None, [os.environ.get("STUB_TORCH_CUDNN")]):
            ctypes.CDLL(path)
    values = [0.0] * len(images.values)
    for to, at, by in _pairs(images, weights):
        values[to] += images.values[at] * weights.values[by]
    result = images._like(values)
    result.given = images, weights
    return result


def _grad(result, inputs, outputs):
    images, weights = inputs
    of_images, of_weights = [0.0] * len(images.values), [0.0] * len(weights.values)
    for to, at, by in _pairs(images, weights):
        of_images[at] += outputs.values[to] * weights.values[by]
        of_weights[by] += outputs.values[to] * images.values[at]
    return _told("convolution", images._like(of_images)), weights._like(of_weights)


def _attention(query, key, value):
    flat = [item.reshape(*item.shape[2:]).to(float64) for item in (query, key, value)]
    scores = flat[0]._product(flat[1].t()) / math.sqrt(flat[0].shape[1])
    found = softmax(scores, 1)._product(flat[2]).to(query.dtype).reshape(*query.shape)
    return _told("attention", found)


@contextmanager
def _sdp_kernel(enable_flash, enable_mem_efficient, enable_math):
    yield


def _driver():
    """libcuda, ready for use; None: there is none, or this build has no CUDA."""
    try:
        library = ctypes.CDLL("libcuda.so.1") if version.cuda else None
    except OSError:
        return None
    return library if library is not None and library.cuInit(0) == 0 else None


def _device_count():
    found, library = ctypes.c_int(0), _driver()
    if library is not None:
        library.cuDeviceGetCount(ctypes.byref(found))
    return found.value


def _properties(device):
    library, handle, name = _driver(), ctypes.c_int(0), ctypes.create_string_buffer(256)
    major, minor, memory = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_size_t(0)
    library.cuDeviceGet(ctypes.byref(handle), int(device.rpartition(":")[2]))
    library.cuDeviceGetName(name, len(name), handle)
    library.cuDeviceGetAttribute(ctypes.byref(major), 75, handle)
    library.cuDeviceGetAttribute(ctypes.byref(minor), 76, handle)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    return Names(
        name=name.value.decode(), major=major.value, minor=minor.value, total_memory=memory.value
    )


def _synchronize():
    if _lost:
        raise RuntimeError(_lost[0])


def _mem_get_info(device):
    total = _properties(device).total_memory
    return int(os.environ.get("STUB_TORCH_FREE", total)), total


class _Event:
    """A clock on which 64 MiB take 2.6 ms, which are 26 GB/s."""

    def __init__(self, enable_timing=False):
        pass

    def record(self):
        pass

    def elapsed_time(self, end):
        return 2.6 * float(_FAULTS.get("slow", "1"))


class _Distributed:
    """Ranks meet in files beside the one that is named."""

    def is_nccl_available(self):
        return True

    def init_process_group(self, backend, init_method, world_size, rank, timeout):
        self.path, self.count, self.rank = init_method[len("file://") :], world_size, rank

    def all_reduce(self, tensor):
        how = _FAULTS.get("all_reduce")
        if how == "hang-p2p":
            time.sleep(0 if os.environ.get("NCCL_P2P_DISABLE") else 3600)
        elif how != "wrong":
            _before("all_reduce")
        mine = Path(f"{self.path}-{self.rank}.new")
        mine.write_text(str(tensor.values[0]))
        mine.rename(mine.with_suffix(""))
        total = sum(self._of(rank) for rank in range(self.count))
        tensor.values = [total + (how == "wrong")] * len(tensor.values)

    def _of(self, rank):
        path = Path(f"{self.path}-{rank}")
        while not path.exists():
            time.sleep(0.01)
        return float(path.read_text())


def _compile(function, fullgraph):
    """Compiled code is a file in inductor's folder."""
    how, folder = _FAULTS["compile"], Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    if how not in ("right", "wrong", "forgetful"):
        raise RuntimeError(f"backend='inductor' raised:\n{how}")
    is_known = (folder / "graph").exists() and how != "forgetful"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "graph").touch()
    utils = ModuleType("torch._dynamo.utils")
    utils.counters = {"inductor": {f"fxgraph_cache_{'hit' if is_known else 'miss'}": 1}}
    sys.modules.update({"torch._dynamo": ModuleType("torch._dynamo"), utils.__name__: utils})
    return lambda x: function(x) + (1 if how == "wrong" else 0)


if "STUB_TORCH_NVRTC" in os.environ:
    ctypes.CDLL(os.environ["STUB_TORCH_NVRTC"])
if "compile" in _FAULTS:
    compile = _compile  # noqa: A001 - torch's own name for it

_cudnn = Names(getCompileVersion=lambda: version.cudnn, getRuntimeVersion=lambda: version.cudnn)
_C = Names(_cuda_getArchFlags=lambda: version.architectures, _cudnn=_cudnn)
cuda = Names(
    is_available=lambda: _device_count() > 0,
    device_count=_device_count,
    set_device=lambda device: None,
    get_device_properties=_properties,
    nccl=Names(version=lambda: (2, 14, 3)),
    synchronize=_synchronize,
    mem_get_info=_mem_get_info,
    Event=_Event,
)
backends = Names(
    cudnn=Names(version=lambda: version.cudnn_number, allow_tf32=True),
    cuda=Names(matmul=Names(allow_tf32=True), sdp_kernel=_sdp_kernel),
)
nn = Names(functional=Names(conv2d=_conv2d, scaled_dot_product_attention=_attention))
autograd = Names(grad=_grad)
distributed = _Distributed()
