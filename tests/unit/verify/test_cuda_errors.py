"""What error texts mean."""

from __future__ import annotations

import pytest

from envforge.verify.cuda_errors import CAUSES, cause_of, is_unsupported


@pytest.mark.parametrize(
    ("text", "means"),
    [
        (
            "CUDA error: the provided PTX was compiled with an unsupported toolchain.",
            "driver is older",
        ),
        ("cuModuleLoadData: CUDA_ERROR_UNSUPPORTED_PTX_VERSION (222)", "driver is older"),
        ("cuModuleLoadData: CUDA_ERROR_JIT_COMPILER_NOT_FOUND (221)", "PTX compiler"),
        ("NVRTC error 7: failed to open libnvrtc-builtins.so.11.1.", "built-in functions"),
        (
            "CUDA error: no kernel image is available for execution on the device",
            "no code for this GPU",
        ),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", "for itself"),
        ("CUDA error: uncorrectable ECC error encountered", "cannot be corrected"),
        ("CUDA error: an illegal memory access was encountered", "went wrong on this GPU"),
        ("CUDA error: unspecified launch failure", "went wrong on this GPU"),
        ("CUDA error: the launch timed out and was terminated", "took too long"),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB", "no memory left"),
        ("CUDA error: system not yet initialized", "fabric"),
        ("CUDA driver version is insufficient for CUDA runtime version", "too old for this build"),
        ("cuDNN error: CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH", "several places"),
        ("cuDNN version 92600 is not compatible with devices with SM < 7.5", "no longer serves"),
        ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling cublasCreate", "could not start"),
        ("Unrecognized CachingAllocator option: expandable_segments", "allocator does not know"),
        ("CUDA unknown error - this may be due to an incorrectly set up environment", "say why"),
    ],
)
def test_known_errors(text: str, means: str) -> None:
    cause = cause_of(text)
    assert cause is not None
    assert means in cause.means
    assert cause.remedy
    assert not is_unsupported(text)


@pytest.mark.parametrize(
    "text",
    [
        "\"addmm_impl_cpu_\" not implemented for 'Half'",
        "No available kernel. Aborting execution.",
        "No viable backend for scaled_dot_product_attention was found.",
        "CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasGemmEx(`",
        "torch._scaled_mm is only supported on CUDA devices with compute capability >= 9.0",
    ],
)
def test_what_a_gpu_or_a_build_does_not_have(text: str) -> None:
    """It is told as such, and is no failure."""
    assert is_unsupported(text)


def test_unknown_errors_are_failures() -> None:
    assert cause_of("something else") is None
    assert not is_unsupported("something else")


def test_every_cause_is_a_sentence_and_a_remedy() -> None:
    for cause in CAUSES:
        assert cause.means.startswith("NVRTC") or cause.means[0].islower()
        assert not cause.means.endswith(".")
