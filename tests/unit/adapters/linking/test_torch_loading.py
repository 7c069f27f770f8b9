"""What torch opens beside what the loader finds, by the text of its `__init__.py`."""

from __future__ import annotations

from envforge.adapters.linking.torch_loading import Preloading, preloading

TORCH_2_1 = """
def _preload_cuda_deps(lib_folder, lib_name):
    lib_path = None

def _load_global_deps():
    try:
        ctypes.CDLL(lib_path, mode=ctypes.RTLD_GLOBAL)
    except OSError as err:
        cuda_libs: Dict[str, str] = {
            'cublas': 'libcublas.so.*[0-9]',
            'cudnn': 'libcudnn.so.*[0-9]',
        }
        for lib_folder, lib_name in cuda_libs.items():
            _preload_cuda_deps(lib_folder, lib_name)
"""
TORCH_2_6 = """
def _preload_cuda_deps(lib_folder: str, lib_name: str) -> None:
    pass

def _load_global_deps() -> None:
    try:
        ctypes.CDLL(global_deps_lib_path, mode=ctypes.RTLD_GLOBAL)
        with open("/proc/self/maps") as f:
            _maps = f.read()
        if "nvidia/cuda_runtime/lib/libcudart.so" not in _maps:
            return
        _preload_cuda_deps("cuda_nvrtc", "libnvrtc.so.*[0-9]")
        _preload_cuda_deps("nvjitlink", "libnvJitLink.so.*[0-9]")
    except OSError as err:
        cuda_libs: dict[str, str] = {
            "cublas": "libcublas.so.*[0-9]",
        }
"""
TORCH_2_14 = """
def _preload_cuda_deps(err=None, required=True):
    cuda_libs = [
        ("cublas", "libcublasLt.so.*[0-9]"),
        ("cudnn", "libcudnn.so.*[0-9]"),
    ]

def _load_global_deps() -> None:
    try:
        ctypes.CDLL(global_deps_lib_path, mode=ctypes.RTLD_GLOBAL)
        if "libcudart.so" not in _maps:
            return
        _preload_cuda_deps(required=False)
    except OSError as err:
        _preload_cuda_deps(err)
"""


def test_only_where_the_loader_failed() -> None:
    rules = preloading(TORCH_2_1)

    assert rules.fallback == (("cublas", "libcublas.so.*[0-9]"), ("cudnn", "libcudnn.so.*[0-9]"))
    assert rules.early == ()


def test_some_beforehand() -> None:
    """Where the runtime came from a wheel."""
    rules = preloading(TORCH_2_6)

    assert [pattern for _, pattern in rules.early] == [
        "libnvrtc.so.*[0-9]",
        "libnvJitLink.so.*[0-9]",
    ]
    assert rules.condition == "nvidia/cuda_runtime/lib/libcudart.so"
    assert ("cublas", "libcublas.so.*[0-9]") in rules.fallback


def test_all_beforehand() -> None:
    rules = preloading(TORCH_2_14)

    assert rules.early == rules.fallback
    assert [folder for folder, _ in rules.early] == ["cublas", "cudnn"]
    assert rules.condition == "libcudart.so"


def test_a_torch_that_opens_nothing() -> None:
    """Before 1.13, and stand-ins."""
    assert preloading("import ctypes\n") == Preloading()
