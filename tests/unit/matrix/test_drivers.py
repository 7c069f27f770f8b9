"""Which driver runs which CUDA: known published cases, and what must hold for all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envforge.errors import InvalidValue
from envforge.matrix import Matrix, drivers, gpus, load
from envforge.matrix.drivers import DriverVersion
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Driver, Machine

DRIVERS = st.tuples(st.integers(390, 640), st.integers(0, 200), st.integers(0, 20)).map(
    lambda numbers: "{}.{:02}.{:02}".format(*numbers)
)
CUDAS = st.sampled_from([toolkit.cuda for toolkit in load().toolkits])
RANK = {"none": 0, "minor-version": 1, "native": 2}


@pytest.mark.parametrize(
    ("driver", "cuda", "expected"),
    [
        ("535.104.05", "12.4", "minor-version"),
        ("535.104.05", "12.2", "native"),
        ("470.82.01", "12.1", "none"),
        ("470.82.01", "11.4", "native"),
        ("470.82.01", "11.8", "minor-version"),
        ("570.124.06", "13.0", "none"),
        ("570.124.06", "12.8", "native"),
        ("580.65.06", "13.0", "native"),
        ("580.65.06", "13.2", "minor-version"),
        ("580", "13.0", "native"),  # a branch alone counts as its newest release
        ("525", "12.1", "minor-version"),
        ("525.60.13", "12.9", "minor-version"),
        ("525.53", "12.0", "none"),
        ("450.80.02", "11.8", "minor-version"),
        ("450.51.06", "11.0", "native"),  # CUDA 11.0 came before the minimum of its major
        ("450.36.06", "11.1", "none"),
        ("440.33", "10.2", "native"),
        ("418.39", "10.2", "none"),  # no minor-version compatibility before 11
        ("615.10", "13.4", "native"),  # no driver of 13.4 was seen; its branch is R615
        ("610.43.02", "13.4", "minor-version"),
    ],
)
def test_published_cases(driver: str, cuda: str, expected: str, matrix: Matrix) -> None:
    found = drivers.support(Driver(version=driver), CudaVersion.parse(cuda), matrix)
    assert found == expected


def test_windows_has_its_own_numbers(matrix: Matrix) -> None:
    cuda = CudaVersion(12, 4)
    assert drivers.support(Driver(version="528.33"), cuda, matrix, "win-64") == "minor-version"
    assert drivers.support(Driver(version="527.41"), cuda, matrix, "win-64") == "none"
    assert drivers.min_driver(CudaVersion(13, 1), "win-64", matrix) == "580"  # of its major


def test_the_drivers_own_word_counts_most(matrix: Matrix) -> None:
    """cuda-compat puts a newer libcuda in front of an older kernel driver."""
    compat = Driver(version="570.124.06", cuda=CudaVersion(13, 0))
    assert drivers.support(compat, CudaVersion(13, 0), matrix) == "native"
    assert drivers.support(compat, CudaVersion(13, 2), matrix) == "minor-version"
    assert drivers.newest_cuda(compat, matrix) == CudaVersion(13, 0)
    old_library = Driver(version="580.65.06", cuda=CudaVersion(12, 8))
    assert drivers.support(old_library, CudaVersion(13, 0), matrix) == "none"
    assert drivers.support(old_library, CudaVersion(12, 9), matrix) == "minor-version"


def test_newest_cuda(matrix: Matrix) -> None:
    driver = Driver(version="535.104.05")
    assert drivers.newest_cuda(driver, matrix) == CudaVersion(12, 2)
    assert drivers.newest_cuda(driver, matrix, native=False) == CudaVersion(12, 9)
    assert drivers.newest_cuda(Driver(version="300.10"), matrix) is None


def test_a_cuda_newer_than_the_tables_has_its_majors_minimum(matrix: Matrix) -> None:
    future = CudaVersion(13, 9)
    assert drivers.min_driver(future, "linux-64", matrix) == "580"
    assert drivers.own_driver(future, "linux-64", matrix) is None
    assert drivers.support(Driver(version="600.10"), future, matrix) == "minor-version"
    assert drivers.min_driver(CudaVersion(14, 0), "linux-64", matrix) is None
    assert drivers.support(Driver(version="600.10"), CudaVersion(14, 0), matrix) == "none"


def test_driver_and_cuda_beyond_the_tables_are_nobodys_to_judge(matrix: Matrix) -> None:
    """R700 with CUDA 14: no alarm, and no promise."""
    for cuda in (CudaVersion(13, 9), CudaVersion(14, 0)):
        assert drivers.support(Driver(version="700.10"), cuda, matrix) == "unknown"
    told = Driver(version="700.10", cuda=CudaVersion(14, 0))
    assert drivers.support(told, CudaVersion(14, 0), matrix) == "native"
    assert drivers.newest_cuda(told, matrix, native=False) == CudaVersion(14, 0)


def test_a_cuda_that_the_tables_skip_runs_where_a_later_one_does(matrix: Matrix) -> None:
    """12.7 was never released, 9.0 is older than the tables."""
    assert drivers.support(Driver(version="570.26"), CudaVersion(12, 7), matrix) == "native"
    assert drivers.support(Driver(version="535.54.03"), CudaVersion(9, 0), matrix) == "native"
    assert drivers.support(Driver(version="390.46"), CudaVersion(9, 0), matrix) == "none"


@pytest.mark.parametrize(
    ("version", "cuda"),
    [
        ((9, 0), "13.0"),
        ((9, 2), "13.2"),
        ((8, 5), "12.5"),
        ((8, 6), "12.8"),
        ((7, 8), "11.8"),
        ((12, 0), None),
    ],
)
def test_ptx_needs_the_driver_of_its_cuda(
    version: tuple[int, int], cuda: str | None, matrix: Matrix
) -> None:
    found = drivers.cuda_of_ptx(version, matrix)
    assert (str(found) if found else None) == cuda


@pytest.mark.parametrize(
    ("driver", "gpu", "cuda", "package"),
    [
        ("535.104.05", "H100", "13.0", "cuda-compat-13-0"),
        ("570.124.06", "NVIDIA A100-SXM4-80GB MIG 1g.10gb", "13.0", "cuda-compat-13-0"),
        ("535.104.05", "L40S", "12.8", "cuda-compat-12-8"),
        ("535.104.05", "L40S", "12.7", "cuda-compat-12-8"),  # the next one of its major
        ("470.82.01", "V100", "12.4", None),  # a branch that is out of support
        ("550.54.14", "H100", "13.0", None),  # not a branch that NVIDIA promises it for
        ("590.48.01", "H100", "12.9", None),  # older than the driver
        ("535.104.05", "RTX 4090", "13.0", None),
        ("535.104.05", "RTX A6000", "13.0", None),  # few systems with these are certified
        ("535.104.05", "9.0", "13.0", None),
    ],
)
def test_forward_compatibility(
    driver: str, gpu: str, cuda: str, package: str | None, matrix: Matrix
) -> None:
    machine = Machine(driver=Driver(version=driver), gpus=(gpus.find(gpu, matrix),))
    found = drivers.compat_package(CudaVersion.parse(cuda), machine, matrix)

    assert (found.name if found else None) == package
    assert drivers.compat_package(CudaVersion.parse(cuda), machine, matrix, "win-64") is None


def test_forward_compatibility_needs_every_gpu_and_a_driver(matrix: Matrix) -> None:
    both = (gpus.find("H100", matrix), gpus.find("RTX 4090", matrix))
    driver = Driver(version="535.104.05")
    cuda = CudaVersion(13, 0)
    assert drivers.compat_package(cuda, Machine(driver=driver, gpus=both), matrix) is None
    assert drivers.compat_package(cuda, Machine(driver=driver), matrix) is None
    assert drivers.compat_package(cuda, Machine(gpus=both[:1]), matrix) is None


def test_the_compat_packages_are_those_of_the_guide(matrix: Matrix) -> None:
    """Each is newer than the drivers it works on, and lies where the guide says."""
    assert [row.cuda for row in matrix.compat_packages] == sorted(
        {row.cuda for row in matrix.compat_packages}
    )
    for row in matrix.compat_packages:
        assert all(int(branch) < int(row.driver) for branch in row.on), row
    newest = matrix.compat_packages[-1]
    assert (newest.name, newest.folder) == ("cuda-compat-13-4", "/usr/local/cuda-13.4/compat")


@pytest.mark.parametrize("text", ["", "abc", "x535", "535.", "535.104.05-open"])
def test_what_is_no_driver_version(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        DriverVersion.parse(text)
    assert caught.value.exit_code == 2
    assert "nvidia-smi" in str(caught.value.hint)


def test_spellings_of_a_branch() -> None:
    assert DriverVersion.parse("R535") == DriverVersion.parse(" 535 ")
    assert DriverVersion.parse("535.54.03") > DriverVersion.parse("535")
    assert DriverVersion.parse("535.104.05") > DriverVersion.parse("535.54.03")


@settings(deadline=None)  # other tests share the processor
@given(older=DRIVERS, newer=DRIVERS, cuda=CUDAS)
def test_a_newer_driver_never_loses(older: str, newer: str, cuda: CudaVersion) -> None:
    matrix = load()
    first, second = sorted((older, newer), key=DriverVersion.parse)
    before = drivers.support(Driver(version=first), cuda, matrix)
    after = drivers.support(Driver(version=second), cuda, matrix)
    assert RANK[after] >= RANK[before]


@settings(deadline=None)  # other tests share the processor
@given(driver=DRIVERS, one=CUDAS, other=CUDAS)
def test_within_a_major_an_older_cuda_is_never_harder(
    driver: str, one: CudaVersion, other: CudaVersion
) -> None:
    matrix = load()
    older, newer = sorted((one, other))
    if older.major == newer.major:
        old = drivers.support(Driver(version=driver), older, matrix)
        new = drivers.support(Driver(version=driver), newer, matrix)
        assert RANK[old] >= RANK[new]


@settings(deadline=None)  # other tests share the processor
@given(cuda=CUDAS)
def test_the_minimum_is_the_boundary(cuda: CudaVersion) -> None:
    matrix = load()
    minimum = drivers.min_driver(cuda, "linux-64", matrix)
    assert minimum is not None
    assert drivers.support(Driver(version=minimum), cuda, matrix) != "none"
