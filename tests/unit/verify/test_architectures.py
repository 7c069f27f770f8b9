"""Which witness is believed about the GPUs that torch was built for."""

from __future__ import annotations

import pytest
from fakes.facts import TARGET, prefix, probe, subject, torch_run

from envforge.verify.architectures import built, extension_code, of_build, of_flags
from envforge.verify.facts import DeviceCode

LIB = "lib/python3.10/site-packages/torch/lib"


def code(name: str, *flags: str, **more: object) -> DeviceCode:
    return DeviceCode(path=f"{LIB}/{name}", architectures=flags, **more)  # type: ignore[arg-type]


CUDA = code("libtorch_cuda.so", "sm_80", "sm_90", "sm_90a", "compute_90", ptx=(8, 5))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("sm_90 compute_120 sm_120", "9.0 12.0+PTX"),
        ("compute_90 sm_80", "8.0 9.0(PTX)"),
        ("sm_90 sm_90a compute_90a", "9.0 9.0a+PTX"),
        ("sm_100f what sm_x gfx90a", "10.0f"),
        ("", ""),
    ],
)
def test_flags_become_what_the_matrix_reads(flags: str, expected: str) -> None:
    assert " ".join(of_flags(flags.split())) == expected


def test_torch_itself_is_believed_before_its_files_and_these_before_the_lock() -> None:
    facts = subject(prefix=prefix(code=(CUDA,)))
    found = built(facts)
    assert found.architectures == ("3.7", "7.0", "8.0", "9.0")
    assert (found.witness, found.is_file, found.ptx) == ("torch's own list", False, (8, 5))

    files = built(subject(prefix=prefix(code=(CUDA,)), probe=None))
    assert files.architectures == ("8.0", "9.0+PTX", "9.0a")
    assert (files.witness, files.is_file, files.ptx) == ("libtorch_cuda.so", True, (8, 5))

    lock = built(subject(prefix=prefix(), probe=None))
    assert lock.architectures == TARGET.architectures
    assert (lock.witness, lock.ptx) == ("the lock", None)


def test_nobody_knows() -> None:
    mute = subject(target=None, probe=probe(torch=torch_run(architectures=("gfx90a",))))
    assert of_build(mute) == ()


def test_extras_of_few_kernels_are_no_support() -> None:
    rare = code("libtorch_cuda.so", "sm_80", "sm_100a", rare=frozenset({"sm_100a"}))
    assert of_build(subject(prefix=prefix(code=(rare,)), probe=None)) == ("8.0",)


def test_older_builds_have_two_libraries_and_linear_algebra_apart() -> None:
    """What magma was built for says nothing of torch, unless it is all there is."""
    linalg = code("libtorch_cuda_linalg.so", "sm_37")
    two = (code("libtorch_cuda_cpp.so", "sm_70"), code("libtorch_cuda_cu.so", "sm_75"), linalg)
    found = built(subject(prefix=prefix(code=two), probe=None))
    assert found.architectures == ("7.0", "7.5")
    assert found.witness == "libtorch_cuda_cpp.so and libtorch_cuda_cu.so"
    assert of_build(subject(prefix=prefix(code=(linalg,)), probe=None)) == ("3.7",)


def test_everything_else_is_an_extension() -> None:
    other = DeviceCode(path="lib/python3.10/site-packages/x/_C.so", architectures=("sm_80",))
    empty = DeviceCode(path="lib/python3.10/site-packages/y.so", architectures=(), problem="no")
    facts = subject(prefix=prefix(code=(CUDA, other, empty)))
    assert extension_code(facts) == (other,)
    assert extension_code(subject(prefix=None)) == ()
