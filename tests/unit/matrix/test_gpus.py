"""Finding GPUs by what people type, and the rules of machine code and PTX."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envforge.errors import InvalidValue
from envforge.matrix import Matrix, gpus, load
from envforge.model.cuda import ComputeCapability
from envforge.model.machine import Gpu

CAPABILITIES = st.sampled_from([row.capability for row in load().architectures])
CODE = st.lists(
    st.tuples(CAPABILITIES, st.booleans()).map(lambda c: f"{c[0]}{'+PTX' if c[1] else ''}"),
    max_size=6,
)


@pytest.mark.parametrize(
    ("typed", "capability"),
    [
        ("H200", "9.0"),
        ("h100", "9.0"),
        ("NVIDIA H200", "9.0"),
        ("NVIDIA H100 80GB HBM3", "9.0"),
        ("GH200", "9.0"),
        ("rtx 4090", "8.9"),
        ("RTX4090", "8.9"),
        ("4090", "8.9"),
        ("GeForce RTX 4090 D", "8.9"),
        ("A100-SXM4-80GB", "8.0"),
        ("NVIDIA A100 80GB PCIe", "8.0"),
        ("A10G", "8.6"),
        ("Tesla V100-SXM2-16GB", "7.0"),
        ("v100", "7.0"),
        ("T4", "7.5"),
        ("Tesla T4", "7.5"),
        ("L4", "8.9"),
        ("L40S", "8.9"),
        ("NVIDIA RTX 6000 Ada Generation", "8.9"),
        ("Quadro RTX 6000", "7.5"),
        ("RTX A6000", "8.6"),
        ("RTX PRO 6000", "12.0"),
        ("NVIDIA GeForce RTX 3080 Ti Laptop GPU", "8.6"),
        ("gtx1080ti", "6.1"),
        ("1080", "6.1"),
        ("B200", "10.0"),
        ("GB200", "10.0"),
        ("GB10", "12.1"),
        ("Jetson AGX Orin", "8.7"),
        ("orin", "8.7"),
        ("sm_90", "9.0"),
        ("sm_90a", "9.0"),
        ("compute_120", "12.0"),
        ("9.0", "9.0"),
        ("10.1", "11.0"),  # the chip was renamed with CUDA 13
    ],
)
def test_find(typed: str, capability: str, matrix: Matrix) -> None:
    assert str(gpus.find(typed, matrix).capability) == capability


def test_a_name_keeps_what_the_driver_calls_it(matrix: Matrix) -> None:
    assert gpus.find("NVIDIA A100-SXM4-80GB", matrix).name == "NVIDIA A100-SXM4-80GB"
    assert gpus.find("rtx4090", matrix).name == "GeForce RTX 4090"
    assert gpus.describe(gpus.find("h200", matrix)) == "H200 (9.0)"


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("H2000", "`H200`"),
        ("RTX 6000", "`Quadro RTX 6000`"),  # Turing or Ada: not for us to guess
        ("A1000", "`A100`"),
        ("B100", "`H100`"),
        ("Radeon", "--gpu 9.0"),
        ("", "--gpu 9.0"),
        ("7.9", "known: 3.5"),
    ],
)
def test_an_unknown_name_gets_the_nearest(typed: str, hint: str, matrix: Matrix) -> None:
    with pytest.raises(InvalidValue) as caught:
        gpus.find(typed, matrix)
    assert hint in str(caught.value.hint)


def test_every_board_is_found_by_its_own_name(matrix: Matrix) -> None:
    for board in matrix.boards:
        for typed in (board.name, f"NVIDIA {board.name}", board.name.lower().replace(" ", "-")):
            assert gpus.find(typed, matrix).capability == board.capability, typed


@pytest.mark.parametrize(
    ("device", "architectures", "expected"),
    [
        ("9.0", "8.0 8.6 9.0", "sass"),
        ("8.9", "8.0 8.6", "sass"),  # a newer minor runs the older one's code
        ("8.0", "8.6", "none"),  # never the other way
        ("9.0", "8.0 8.6", "none"),
        ("9.0", "3.7+PTX 8.6", "ptx"),
        ("3.5", "3.7+PTX", "none"),  # PTX only goes up
        ("8.7", "8.0 8.6", "none"),  # a Jetson does not run the code of cards
        ("8.7", "8.6+PTX", "ptx"),
        ("8.7", "8.7", "sass"),
        ("8.9", "8.7", "none"),
        ("5.3", "5.0 5.2", "none"),
        ("6.2", "6.0 6.1", "none"),
        ("7.2", "7.0", "none"),
        ("11.0", "10.0 12.0+PTX", "none"),
        ("11.0", "10.1", "sass"),
        ("12.1", "12.0+PTX", "sass"),
        ("10.3", "10.0", "sass"),
        ("12.0", "", "none"),
        # code with a suffix stays where it is: `a` on its architecture, `f` in its family
        ("9.0", "9.0a", "sass"),
        ("10.3", "10.0a", "none"),
        ("10.3", "10.0f", "sass"),
        ("10.0", "10.3f", "none"),
        ("12.0", "9.0a+PTX", "none"),
        ("9.0", "9.0a(PTX)", "ptx"),
        ("12.0", "10.0f(PTX)", "none"),
        ("10.3", "10.0f(PTX)", "ptx"),
        ("9.0", "9.0(PTX)", "ptx"),  # PTX alone is no machine code
        ("9.0", "8.0(PTX)", "ptx"),
        ("14.0", "12.0+PTX", "ptx"),  # a GPU that the tables do not know
    ],
)
def test_kernels(device: str, architectures: str, expected: str, matrix: Matrix) -> None:
    capability = ComputeCapability.parse(device)
    assert gpus.kernels(capability, architectures.split(), matrix) == expected


@pytest.mark.parametrize("text", ["9.0", "9.0a", "10.0f", "9.0+PTX", "9.0(PTX)", "12.1a(PTX)"])
def test_code_is_spelled_as_it_is_read(text: str) -> None:
    assert str(gpus.Compiled.parse(text)) == text


@pytest.mark.parametrize(
    ("name", "capability", "takes"),
    [
        ("NVIDIA H100 80GB HBM3", "9.0", True),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "8.0", True),
        ("Tesla T4", "7.5", True),
        ("NVIDIA A10G", "8.6", True),
        ("Tesla of another year", "7.0", True),
        ("Orin", "8.7", True),  # Jetson
        ("NVIDIA Thor", "11.0", True),
        ("NVIDIA GeForce RTX 4090", "8.9", False),
        ("NVIDIA GeForce RTX 6090", "13.0", False),
        ("NVIDIA TITAN X (Pascal)", "6.1", False),
        ("NVIDIA RTX A6000", "8.6", None),
        ("NVIDIA GB10", "12.1", None),
        ("GRID A100D-16C", "8.0", None),
        ("sm_90", "9.0", None),
    ],
)
def test_which_gpus_take_cuda_compat(
    name: str, capability: str, takes: bool | None, matrix: Matrix
) -> None:
    gpu = Gpu(name=name, capability=ComputeCapability.parse(capability))
    assert gpus.takes_compat(gpu, matrix) is takes


@settings(deadline=None)  # other tests share the processor
@given(device=CAPABILITIES, code=CODE, more=CODE)
def test_more_code_never_loses(device: ComputeCapability, code: list[str], more: list[str]) -> None:
    rank = {"none": 0, "ptx": 1, "sass": 2}
    matrix = load()
    without = gpus.kernels(device, code, matrix)
    assert rank[gpus.kernels(device, [*code, *more], matrix)] >= rank[without]


@settings(deadline=None)  # other tests share the processor
@given(device=CAPABILITIES)
def test_a_device_runs_its_own_code(device: ComputeCapability) -> None:
    assert gpus.kernels(device, [str(device)], load()) == "sass"
