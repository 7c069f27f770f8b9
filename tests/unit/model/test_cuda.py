"""CUDA releases and compute capabilities, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.errors import InvalidValue
from envforge.model.cuda import (
    ComputeCapability,
    CudaVersion,
    accelerator_label,
    accelerator_name,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("11.8", (11, 8)),
        ("11.8.0", (11, 8)),
        (" 12.1 ", (12, 1)),
        ("cu118", (11, 8)),
        ("CU118", (11, 8)),
        ("cuda11.8", (11, 8)),
        ("cuda-12.4", (12, 4)),
        ("118", (11, 8)),
        ("cu92", (9, 2)),
        ("130", (13, 0)),
    ],
)
def test_cuda_is_read_as_people_write_it(text: str, expected: tuple[int, int]) -> None:
    found = CudaVersion.parse(text)
    assert (found.major, found.minor) == expected


@pytest.mark.parametrize("text", ["", "12", "11.", "cu", "cpu", "11.8rc1", "1118", "-11.8", "6.5"])
def test_what_is_no_cuda(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        CudaVersion.parse(text)
    assert caught.value.exit_code == 2
    assert "--cuda 12.1" in str(caught.value.hint)


@given(st.integers(7, 20), st.integers(0, 9))
def test_cuda_round_trips(major: int, minor: int) -> None:
    cuda = CudaVersion(major, minor)
    assert CudaVersion.parse(str(cuda)) == cuda
    assert CudaVersion.parse(cuda.label) == cuda


def test_cuda_is_ordered_by_number() -> None:
    assert CudaVersion(9, 2) < CudaVersion(10, 0) < CudaVersion(12, 1) < CudaVersion(12, 10)


def test_names_of_accelerators() -> None:
    assert accelerator_label(CudaVersion(11, 8)) == "cu118"
    assert accelerator_label(None) == "cpu"
    assert accelerator_name(CudaVersion(11, 8)) == "CUDA 11.8"
    assert accelerator_name(None) == "CPU"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9.0", "9.0"),
        ("90", "9.0"),
        ("sm_90", "9.0"),
        ("sm90", "9.0"),
        ("SM_120", "12.0"),
        ("compute_75", "7.5"),
        ("sm_90a", "9.0"),
        ("sm_100f", "10.0"),
        ("12.1", "12.1"),
    ],
)
def test_capabilities(text: str, expected: str) -> None:
    assert str(ComputeCapability.parse(text)) == expected


@pytest.mark.parametrize("text", ["", "9", "sm_", "H200", "9.0+PTX", "4090"])
def test_what_is_no_capability(text: str) -> None:
    with pytest.raises(InvalidValue, match="compute capability"):
        ComputeCapability.parse(text)


def test_capabilities_are_ordered_by_number() -> None:
    assert ComputeCapability(9, 0) < ComputeCapability(10, 0) < ComputeCapability(12, 1)
