"""Versions out of files and build strings."""

from __future__ import annotations

import pytest

from envforge.verify import torch_version as tv

OLD = "__version__ = '1.13.1'\ndebug = False\ncuda = '11.7'\ngit_version = '49444c3'\nhip = None\n"
NEW = """from typing import Optional

__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip', 'xpu']
__version__ = '2.13.0+cpu'
debug = False
cuda: Optional[str] = None
git_version = 'cf30153c'
hip: Optional[str] = None
xpu: Optional[str] = None
"""


def test_both_forms_of_version_py_are_read() -> None:
    """With and without annotations."""
    assert tv.read_torch_version(OLD) == {
        "__version__": "1.13.1",
        "cuda": "11.7",
        "git_version": "49444c3",
        "hip": None,
    }
    assert tv.read_torch_version(NEW)["__version__"] == "2.13.0+cpu"
    assert tv.read_torch_version(NEW)["cuda"] is None


@pytest.mark.parametrize("text", ["", "cuda = '11.8'", "def", "__version__ = make()", "a.b = 1"])
def test_what_names_no_version_is_refused(text: str) -> None:
    """Nothing is run to find out."""
    with pytest.raises(ValueError, match=r"version|Python"):
        tv.read_torch_version(text)


@pytest.mark.parametrize(
    ("build", "cuda", "cudnn"),
    [
        ("py3.10_cuda11.8_cudnn8.7.0_0", "11.8", "8.7.0"),
        ("py3.8_cuda10.2_cudnn7.6.5_0", "10.2", "7.6.5"),
        ("cuda118py310h20f3c5d_200", "11.8", None),
        ("cuda126_mkl_py312_hb87378e_301", "12.6", None),
        ("cuda129_generic_py311_h0_200", "12.9", None),
        ("py310_cu118", "11.8", None),
        ("cpu_mkl_py310h0_100", None, None),
        ("py3.10_cpu_0", None, None),
    ],
)
def test_builds_name_their_cuda(build: str, cuda: str | None, cudnn: str | None) -> None:
    """Of the pytorch channel, of conda-forge in its three forms, and of torchvision."""
    assert tv.cuda_of_build(build) == cuda
    assert tv.cudnn_of_build(build) == cudnn


def test_cudnn_in_file_names_and_headers() -> None:
    """A link without the full version says nothing."""
    assert tv.cudnn_of_filename("libcudnn.so.9.10.2") == "9.10.2"
    assert tv.cudnn_of_filename("libcudnn.so.9") is None
    header = "#define CUDNN_MAJOR 8\n#define CUDNN_MINOR 9\n#define CUDNN_PATCHLEVEL 7\n"
    assert tv.cudnn_of_header(header) == "8.9.7"
    assert tv.cudnn_of_header("#define CUDNN_MAJOR 8\n") is None


def test_versions_agree_as_far_as_both_go() -> None:
    """A wheel's fourth number is beside the point."""
    assert tv.same_release("9.10.2.21", "9.10.2")
    assert tv.same_release("11.8", "11.8.0")
    assert not tv.same_release("9.10.1", "9.10.2")
    assert not tv.same_release("12.1", "12.10")
