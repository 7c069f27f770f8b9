"""The probe's JSON becomes facts."""

from __future__ import annotations

from typing import Any

import pytest

from envforge.model.cuda import CudaVersion
from envforge.verify import probe_document as pd
from envforge.verify.facts import LibraryAnswer

GPU = {"index": 0, "name": "NVIDIA H200", "capability": [9, 0], "memory": 150754820096}


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19", "535.104.05"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build",
            "580.65.06",
        ),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.26", "570.26"),
        ("", None),
        (None, None),
    ],
)
def test_the_kernel_modules_version(line: str | None, version: str | None) -> None:
    """Of the proprietary and of the open module."""
    assert pd.kernel_version(line) == version


def test_answers_of_both_libraries() -> None:
    """A device that could not be asked is left out."""
    answer = pd.library_answer(
        {
            "library": "/l/libcuda.so.1",
            "init": 0,
            "version": 12020,
            "ended": "done",
            "gpus": [GPU, {"index": 1, "error": "CUDA_ERROR_UNKNOWN"}],
        }
    )
    assert answer.works
    assert [str(gpu.capability) for gpu in answer.gpus] == ["9.0"]
    assert pd.library_answer({"init": 0, "list_error": "x"}).init_name == "x"


def answer(init: int | None = 0, **more: Any) -> LibraryAnswer:
    gpus = pd.library_answer({"gpus": [GPU]}).gpus if init == 0 else ()
    return LibraryAnswer(**{"init": init, "gpus": gpus, "version": 12020, **more})


NONE = LibraryAnswer()


def test_a_machine_with_both_libraries() -> None:
    """NVML names the driver, libcuda its CUDA."""
    machine = pd.machine_of(None, answer(), answer(driver="535.1.2"))
    assert machine.driver is not None
    assert machine.driver.version == "535.1.2"
    assert machine.driver.cuda == CudaVersion(12, 2)
    assert len(machine.gpus) == 1


def test_where_cuda_cannot_start_the_machine_still_has_its_gpus() -> None:
    """Rules about the machine need them."""
    machine = pd.machine_of("535.1", answer(999), answer(driver="535.1"))
    assert len(machine.gpus) == 1


@pytest.mark.parametrize(
    ("kernel", "cuda", "nvml", "present"),
    [
        (None, NONE, NONE, False),
        (None, answer(100), NONE, False),
        (None, answer(100), answer(9), False),
        (None, answer(100), answer(12), False),
        ("535.1", NONE, NONE, True),
        (None, answer(100), answer(0), True),
        (None, answer(803), answer(18), True),
        (None, NONE, answer(18), True),
        (None, answer(None, ended="timeout"), NONE, True),
        (None, NONE, answer(None, ended="timeout"), True),
    ],
)
def test_a_library_alone_is_no_driver(
    kernel: str | None, cuda: LibraryAnswer, nvml: LibraryAnswer, present: bool
) -> None:
    """Images and login nodes carry libcuda without a kernel module."""
    assert (pd.machine_of(kernel, cuda, nvml).driver is not None) is present


def test_the_librarys_file_name_is_the_last_witness_of_the_version() -> None:
    """Where neither NVML nor the kernel module tells it."""
    named = answer(library="/usr/lib/libcuda.so.535.104.05")
    assert pd.machine_of(None, named, NONE).driver.version == "535.104.05"  # type: ignore[union-attr]
    assert pd.machine_of(None, answer(library="/x/libcuda.so.1"), NONE).driver.version == ""  # type: ignore[union-attr]
    assert pd.machine_of("535.1", answer(version=None), NONE).driver.cuda is None  # type: ignore[union-attr]
