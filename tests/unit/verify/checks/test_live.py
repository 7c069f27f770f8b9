"""Checks of what was computed on each device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.facts import GPU_TRIALS, copy, device, probe, subject, torch_run, trials

from envforge.model.finding import Finding, Outcome
from envforge.verify.facts import Copy, DeviceRun, Ending, Subject, Trial
from envforge.verify.verify import judge


def with_gpu(**changes: Any) -> Subject:
    return subject(probe=probe(devices=(device("cpu"), device(**changes))))


def outcome(check: str, facts: Subject) -> Outcome:
    [found] = judge(facts, only=[check])
    return found


def finding(check: str, facts: Subject) -> Finding:
    found = outcome(check, facts)
    assert found.verdict == "failed", found
    return found.findings[0]


def with_trial(trial: Trial, names: tuple[str, ...] = GPU_TRIALS) -> Subject:
    return with_gpu(trials=trials(*names, **{trial.name.replace(" ", "_"): trial}))


ALL = (
    *("gpu-kernel-fails", "gpu-matmul-wrong", "gpu-convolution-wrong", "gpu-attention-wrong"),
    *("gpu-copy-wrong", "gpu-slow-copies", "gpu-ptx-jit-fails", "cudnn-from-two-places"),
    "cpu-compute-wrong",
)


@pytest.mark.parametrize("check", ALL)
def test_a_healthy_gpu_passes(check: str) -> None:
    assert outcome(check, subject()).verdict == "passed"


@pytest.mark.parametrize(
    ("check", "trial"),
    [
        ("gpu-matmul-wrong", "matmul bf16"),
        ("gpu-convolution-wrong", "convolution"),
        ("gpu-attention-wrong", "attention flash"),
        ("gpu-ptx-jit-fails", "PTX"),
    ],
)
def test_wrong_results(check: str, trial: str) -> None:
    """With how far they are off; NaN is no number."""
    facts = with_trial(Trial(name=trial, right=False, worst=7.25))
    found = finding(check, facts)
    assert "cuda:0 (NVIDIA H100)" in found.message
    assert "wrong" in found.message
    assert "7.25 times" in found.seen
    none = finding(check, with_trial(Trial(name=trial, right=False)))
    assert none.seen == "no number"


def test_known_errors_are_explained() -> None:
    """In the sentence, with their own remedy."""
    words = "RuntimeError: CUDA error: an illegal memory access was encountered\nmore"
    found = finding("gpu-convolution-wrong", with_trial(Trial(name="convolution", error=words)))
    assert "went wrong on this GPU" in found.message
    assert "more" not in found.message
    assert "Xid" in found.remedy


def test_a_format_or_backend_that_is_not_there_is_no_failure() -> None:
    """Unless everything has it: fp32 and plain attention."""
    error = "RuntimeError: No available kernel. Aborting execution."
    flash = with_trial(Trial(name="attention flash", error=error))
    assert outcome("gpu-attention-wrong", flash).verdict == "passed"
    plain = with_trial(Trial(name="attention math", error=error))
    assert outcome("gpu-attention-wrong", plain).verdict == "failed"
    half = Trial(name="matmul fp16", error="RuntimeError: CUBLAS_STATUS_NOT_SUPPORTED")
    assert outcome("gpu-matmul-wrong", with_trial(half)).verdict == "passed"
    single = replace(half, name="matmul fp32")
    assert outcome("gpu-matmul-wrong", with_trial(single)).verdict == "failed"


@pytest.mark.parametrize(
    ("check", "stage"),
    [
        ("gpu-matmul-wrong", "matmul fp16"),
        ("gpu-convolution-wrong", "convolution"),
        ("gpu-attention-wrong", "attention flash"),
        ("gpu-copy-wrong", "copies: device to device"),
        ("gpu-ptx-jit-fails", "PTX"),
    ],
)
def test_a_process_that_does_not_survive(check: str, stage: str) -> None:
    """The check of that stage tells it, and the later ones do not pass."""
    ending = Ending(ended="signal 11", stage=stage, trace="Fatal Python error: Segmentation fault")
    done = GPU_TRIALS[: GPU_TRIALS.index(stage)] if stage in GPU_TRIALS else GPU_TRIALS[:-1]
    facts = with_gpu(ending=ending, trials=trials(*done), copies=())

    found = finding(check, facts)

    assert "signal 11" in found.message
    assert "Segmentation fault" in found.seen
    others = {item.check: item.verdict for item in judge(facts) if item.check in ALL}
    assert [name for name, verdict in others.items() if verdict == "failed"] == [check]
    assert others["gpu-slow-copies"] == "unproven"


def test_an_error_that_ends_the_context_is_told_once() -> None:
    """By the trial that raised it, not as the end of the process, too."""
    text = "RuntimeError: CUDA error: unspecified launch failure"
    facts = with_gpu(
        ending=Ending(ended="error", stage="convolution", message=text),
        trials=(*trials("matmul fp32"), Trial(name="convolution", error=text)),
        copies=(),
    )
    assert len(outcome("gpu-convolution-wrong", facts).findings) == 1
    assert outcome("gpu-attention-wrong", facts).verdict == "unproven"


def test_what_was_skipped_is_not_proven() -> None:
    """And says why."""
    facts = with_trial(Trial(name="PTX", skipped="no NVRTC was found with this torch"))
    found = outcome("gpu-ptx-jit-fails", facts)
    assert (found.verdict, found.detail) == (
        "unproven",
        "cuda:0 has not tried PTX of this build: no NVRTC was found with this torch",
    )
    facts = with_gpu(copies=(), copies_skipped="only 20 MiB of its memory are free")
    for check in ("gpu-copy-wrong", "gpu-slow-copies"):
        assert "only 20 MiB" in outcome(check, facts).detail


def test_copies() -> None:
    """Damaged ones and failed ones are errors, memory that cannot be pinned a warning."""
    damaged = Copy(name="device to host, pageable", right=False)
    assert "damaged" in finding("gpu-copy-wrong", with_gpu(copies=(damaged,))).message
    error = "RuntimeError: CUDA error: out of memory"
    for name, severity in (
        ("host to device, pageable", "error"),
        ("host to device, pinned", "warning"),
    ):
        failed = Copy(name=name, error=error)
        found = finding("gpu-copy-wrong", with_gpu(copies=(failed,)))
        assert found.severity == severity
        assert "no memory left" in found.message


@pytest.mark.parametrize(
    ("name", "speed", "is_slow"),
    [
        ("host to device, pinned", 3.1, False),
        ("host to device, pinned", 0.8, True),
        ("host to device, pageable", 0.8, False),
        ("device to device", 12, False),
        ("device to device", 2, True),
    ],
)
def test_slow_copies(name: str, speed: float, is_slow: bool) -> None:
    """Four lanes are slow and still right; one is not. Pageable memory says nothing."""
    facts = with_gpu(copies=(copy(name, speed), copy("device to host, pinned")))
    found = outcome("gpu-slow-copies", facts)
    assert (found.verdict == "failed") is is_slow
    assert all(item.severity == "warning" for item in found.findings)


def test_cudnn_from_two_places() -> None:
    parts = ("/p/lib/libcudnn.so.9", "/usr/lib/libcudnn_ops.so.9")
    found = finding("cudnn-from-two-places", with_gpu(libraries=parts))
    assert "/usr/lib/libcudnn_ops.so.9" in found.seen
    assert outcome("cudnn-from-two-places", with_gpu(libraries=())).verdict == "unproven"


def test_no_gpu_that_runs_kernels() -> None:
    """Its cause is told by another check."""
    facts = with_gpu(kernel_right=None, ending=Ending(ended="timeout", stage="start CUDA"))
    for check in ALL[1:-1]:
        assert outcome(check, facts).detail == "no kernel ran on any GPU"


def test_a_cpu_build_has_no_gpus_to_try() -> None:
    facts = subject(target=None, probe=probe(torch=torch_run(cuda=None), devices=(device("cpu"),)))
    assert outcome("gpu-copy-wrong", facts).verdict == "inapplicable"
    assert outcome("cpu-compute-wrong", facts).verdict == "passed"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"trials": (Trial(name="convolution", right=False, worst=9.0),)},
            "a convolution is wrong",
        ),
        ({"trials": (Trial(name="matmul fp32", error="RuntimeError: no BLAS"),)}, "no BLAS"),
        (
            {"ending": Ending(ended="signal 4", stage="attention"), "trials": ()},
            "attention could not be computed: the process died (signal 4)",
        ),
    ],
)
def test_the_cpu_computes_everything(changes: dict[str, Any], says: str) -> None:
    facts = subject(probe=probe(devices=(device("cpu", **changes), device())))
    assert says in finding("cpu-compute-wrong", facts).message


def test_a_cpu_without_bf16_is_no_failure() -> None:
    error = "RuntimeError: \"addmm_impl_cpu_\" not implemented for 'BFloat16'"
    run: DeviceRun = device(
        "cpu", trials=(*trials("matmul fp32"), Trial(name="matmul bf16", error=error))
    )
    assert outcome("cpu-compute-wrong", subject(probe=probe(devices=(run,)))).verdict == "passed"
