"""What `import torch` finds in the end-to-end tests: small, but it computes.

Packed as `torch/__init__.py`. It asks the driver through libcuda as torch does, and its tensors
are lists of Python floats, rounded to the type they claim.
"""

import ctypes
import math
import operator
from array import array
from types import SimpleNamespace as Names

from torch import version

__version__ = version.__version__
int64, float32, float64 = "int64", "float32", "float64"


class Tensor:
    """One or two dimensions, kept row by row."""

    def __init__(self, values, shape, dtype):
        self.values = list(array("f", values)) if dtype == float32 else list(values)
        self.shape = shape
        self.dtype = dtype

    def _each(self, function):
        return Tensor(map(function, self.values), self.shape, self.dtype)

    def _with(self, other, function):
        if isinstance(other, Tensor):
            return Tensor(map(function, self.values, other.values), self.shape, self.dtype)
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

    def __matmul__(self, other):
        width = self.shape[1]
        rows = [self.values[at : at + width] for at in range(0, len(self.values), width)]
        columns = [other.values[at :: other.shape[1]] for at in range(other.shape[1])]
        values = [sum(map(operator.mul, row, column)) for row in rows for column in columns]
        return Tensor(values, (len(rows), len(columns)), self.dtype)

    def __float__(self):
        return float(self.values[0])

    def reshape(self, *shape):
        return Tensor(self.values, shape, self.dtype)

    def to(self, where):
        return Tensor(self.values, self.shape, where) if "float" in where else self

    def cpu(self):
        return self

    def abs(self):
        return self._each(abs)

    def sum(self):
        return Tensor([sum(self.values)], (1,), self.dtype)

    def max(self):
        return Tensor([max(self.values)], (1,), self.dtype)

    def item(self):
        return self.values[0]


def arange(*limits, dtype=int64, device="cpu"):
    numbers = range(*limits)
    return Tensor(numbers, (len(numbers),), dtype)


def sin(tensor):
    return tensor._each(math.sin)


def cos(tensor):
    return tensor._each(math.cos)


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


_cudnn = Names(getCompileVersion=lambda: version.cudnn, getRuntimeVersion=lambda: version.cudnn)
_C = Names(_cuda_getArchFlags=lambda: version.architectures, _cudnn=_cudnn)
cuda = Names(
    is_available=lambda: _device_count() > 0,
    device_count=_device_count,
    set_device=lambda device: None,
    get_device_properties=_properties,
    nccl=Names(version=lambda: (2, 14, 3)),
)
backends = Names(
    cudnn=Names(version=lambda: version.cudnn_number), cuda=Names(matmul=Names(allow_tf32=True))
)
