"""What only shows when the environment's own interpreter runs, and when the GPUs compute.

torch is the stand-in of the end-to-end tests, which computes and can be broken by `STUB_TORCH`;
everything else is as in use: the probe in the environment's interpreter, a process for each GPU.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fakes.cuda_on_cpu import driver_that_takes_ptx, nvrtc
from fakes.situation import SERIES, Situation, covers
from fakes.stub_driver import H200, V100

from envforge.model.finding import Report


def live(situation: Situation, wanted: str, fault: str = "", **driver: object) -> Report:
    """Named at level live, alone; the fault is one of the stand-in's."""
    if driver:
        situation.driver(**driver)
    if fault:
        situation.env["STUB_TORCH"] = fault
    return situation.names(wanted, level="live")


def test_a_healthy_machine_to_the_bottom(situation: Situation) -> None:
    """Two GPUs, torch.compile, NCCL over both: nothing is named, and all of it is proven."""
    situation.driver(gpus=[H200, H200])
    situation.env["STUB_TORCH"] = "compile=right"

    proven = situation.is_healthy(level="live").proven

    for label in ("GPU 0", "GPU 1"):
        assert "kernel, matmul fp32/tf32/fp16/bf16/fp8, convolution and attention" in proven[label]
        assert "host to device" in proven[f"{label} copies"]
    assert "found in the cache" in proven["torch.compile, GPU 0"]
    assert "torch.compile, GPU 1" not in proven
    assert proven["NCCL all-reduce"].startswith("right over 2 GPUs")


@covers("gpu-kernel-fails")
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("kernel=CUDA error: unspecified launch failure lost", "Xid"),
        ("kernel=crash", "signal 11"),
    ],
)
def test_a_gpu_that_does_not_compute(situation: Situation, fault: str, says: str) -> None:
    finding = live(situation, "gpu-kernel-fails", fault).findings[0]
    assert "cuda:0 (NVIDIA H200)" in finding.message
    assert says in finding.message + finding.remedy


@covers("gpu-matmul-wrong")
def test_a_format_whose_products_are_wrong(situation: Situation) -> None:
    """fp16 alone; an older GPU without bf16 and fp8 is no problem."""
    report = live(situation, "gpu-matmul-wrong", "matmul float16=nan", gpus=[V100])
    assert "a matrix product (fp16) is wrong" in report.findings[0].message


def test_formats_that_a_gpu_does_not_have(situation: Situation) -> None:
    situation.driver(gpus=[V100])
    assert "matmul fp32/fp16," in situation.is_healthy(level="live").proven["GPU 0"]


@covers("cudnn-from-two-places")
def test_a_part_of_cudnn_from_elsewhere(situation: Situation, tmp_path: Path) -> None:
    """Some program's own loader brought it; no variable tells."""
    stray = shutil.copy(situation.prefix / "lib" / "libcudnn_ops.so.9", tmp_path)
    situation.env["STUB_TORCH_CUDNN"] = str(stray)
    assert str(stray) in live(situation, "cudnn-from-two-places").findings[0].seen


@covers("gpu-convolution-wrong")
def test_a_convolution_that_fails(situation: Situation) -> None:
    fault = "convolution=cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"
    assert "EXECUTION_FAILED" in live(situation, "gpu-convolution-wrong", fault).findings[0].message


@covers("gpu-attention-wrong")
def test_attention_that_is_no_number(situation: Situation) -> None:
    assert "flash" in live(situation, "gpu-attention-wrong", "attention=nan").findings[0].message


@covers("gpu-copy-wrong")
def test_a_copy_that_arrives_damaged(situation: Situation) -> None:
    assert "host to device" in live(situation, "gpu-copy-wrong", "copy=wrong").findings[0].message


@covers("gpu-slow-copies")
def test_a_link_with_a_hundredth_of_its_speed(situation: Situation) -> None:
    """26 GB/s are right, 0.26 are not; only said, no failure."""
    report = live(situation, "gpu-slow-copies", "slow=100")
    assert report.passed
    assert "0.26 GB/s" in report.findings[0].message


@covers("gpu-ptx-jit-fails")
def test_a_driver_that_refuses_the_builds_ptx(situation: Situation) -> None:
    """222 from the driver's compiler; with an NVRTC of its own age the same is healthy."""
    library = situation.prefix / "lib" / "libnvrtc.so.12"
    library.unlink()
    nvrtc(library)
    situation.rerecord("cuda-nvrtc")
    situation.env["LD_LIBRARY_PATH"] = str(driver_that_takes_ptx())
    situation.env["STUB_TORCH_NVRTC"] = str(library)
    assert "and PTX right" in situation.is_healthy(level="live").proven["GPU 0"]

    situation.env["STUB_PTX_ERROR"] = "222"
    report = live(situation, "gpu-ptx-jit-fails")
    assert report.passed
    assert "older than the toolkit" in report.findings[0].message


@covers("cpu-compute-wrong")
def test_a_cpu_build_that_crashes(situation: Situation) -> None:
    assert (
        "on the CPU" in live(situation, "cpu-compute-wrong", "cpu kernel=crash").findings[0].message
    )


@covers("torch-compile-fails")
def test_a_compiler_backend_that_fails(situation: Situation) -> None:
    fault = "compile=CalledProcessError: Command 'gcc' returned non-zero exit status 1."
    assert "CalledProcessError" in live(situation, "torch-compile-fails", fault).findings[0].message


@covers("compile-cache-missed")
def test_what_was_compiled_is_not_found_again(situation: Situation) -> None:
    assert live(situation, "compile-cache-missed", "compile=forgetful").passed


@covers("nccl-allreduce-fails")
def test_gpus_that_do_not_work_together(situation: Situation) -> None:
    fault = "all_reduce=NCCL error: unhandled system error"
    report = live(situation, "nccl-allreduce-fails", fault, gpus=[H200, H200])
    assert "unhandled system error" in report.findings[0].message


@covers("ssl-import-fails")
def test_an_interpreter_without_tls(situation: Situation) -> None:
    module = situation.prefix / "lib" / f"python{SERIES}" / "ssl.py"
    module.unlink()
    module.write_text("raise ImportError('libssl.so.3: symbol not found in flat namespace')\n")
    situation.names("ssl-import-fails")


@covers("numpy-bridge-fails")
def test_torch_and_numpy_do_not_know_one_another(situation: Situation) -> None:
    situation.env["STUB_TORCH"] = "numpy=Numpy is not available"
    report = situation.names("numpy-bridge-fails")
    assert "NumPy 2.2.6" in report.findings[0].message


@covers("extension-import-fails")
def test_a_package_for_another_torch(situation: Situation) -> None:
    """And its healthy twin beside it."""
    text = (
        "raise ImportError('_C.so: undefined symbol: _ZN3c106detail23torchInternalAssertFailEPKc')"
    )
    situation.add_wheel("flash-attn", "2.7.4", files={"flash_attn/__init__.py": "import torch\n"})
    situation.is_healthy(level="live")
    situation.add_wheel("accelerate", "1.7.0", files={"accelerate/__init__.py": text})
    report = situation.names("extension-import-fails", level="live")
    assert report.findings[0].message == "`import accelerate` fails: it was built for another torch"
