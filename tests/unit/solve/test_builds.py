"""The build that was solved is the build that was asked for, or an error."""

from __future__ import annotations

import pytest
from fakes.conda_solver import package

from envforge.errors import WrongBuild
from envforge.model.cuda import CudaVersion
from envforge.model.lock import LockedPackage
from envforge.model.spec import Source
from envforge.solve.builds import accelerator_of, assert_build, cudnn_version

CU118, CU126 = CudaVersion(11, 8), CudaVersion(12, 6)
TORCH = package(
    "pytorch",
    "2.0.1",
    "py3.10_cuda11.8_cudnn8.7.0_0",
    depends=("pytorch-cuda >=11.8,<11.9", "pytorch-mutex 1.0 cuda"),
)
PIN = package("pytorch-cuda", "11.8", "h7e8668a_5")
CPU_TORCH = package("pytorch", "2.0.1", "py3.10_cpu_0", depends=("pytorch-mutex 1.0 cpu",))
CF_TORCH = package(
    "pytorch", "2.7.1", "cuda126_mkl_py312_h1_300", depends=("__cuda", "cuda-version >=12.6,<13")
)


def wheel(name: str, version: str, *depends: str) -> LockedPackage:
    return LockedPackage(
        platform="linux-64",
        name=name,
        manager="pip",
        version=version,
        url=f"https://host/{name}-{version}.whl",
        sha256="0" * 64,
        depends=depends,
    )


def check(
    *packages: LockedPackage, cuda: CudaVersion | None = CU118, source: Source = "pytorch"
) -> None:
    assert_build(packages, platform="linux-64", cuda=cuda, source=source)


@pytest.mark.parametrize(
    ("build", "found"),
    [
        ("py3.10_cuda11.8_cudnn8.7.0_0", CU118),
        ("py3.10_cuda11.8_cudnn8_0", CU118),
        ("py3.10_cpu_0", "cpu"),
        ("py3.10_0", None),
        ("cuda112py310h51fe464_202", CudaVersion(11, 2)),
        ("cuda118_py311hbcf62cf_303", CU118),
        ("cuda126_mkl_py312_hdbe889e_310", CU126),
        ("cuda130_generic_py314_h61e8f04_200", CudaVersion(13, 0)),
        ("cpu_mkl_py312h3b258cc_100", "cpu"),
        ("cuda_py312_h1_0", "cuda"),
        ("py310_cu118", CU118),
        ("py310_cpu", "cpu"),
        ("pyhd8ed1ab_0", None),
    ],
)
def test_what_build_strings_say(build: str, found: object) -> None:
    """All spellings that the pytorch channel and conda-forge have used."""
    assert accelerator_of(package("pytorch", "1", build)) == found


def test_a_right_build() -> None:
    check(TORCH, PIN, package("torchvision", "0.15.2", "py310_cu118"))
    check(CF_TORCH, package("cuda-version", "12.6"), cuda=CU126, source="conda-forge")
    check(CPU_TORCH, cuda=None)


@pytest.mark.parametrize(
    ("packages", "told"),
    [
        ((), "no torch at all"),
        ((CPU_TORCH,), "a build for CPU"),
        ((package("pytorch", "2.0.1", "py3.10_0"), PIN), "names no CUDA"),
        ((TORCH, package("pytorch-cuda", "12.1")), "pytorch-cuda 12.1"),
        ((TORCH, package("pytorch-cuda", "nightly")), "pytorch-cuda nightly"),
        ((TORCH, PIN, package("torchvision", "0.15.2", "py310_cpu")), "torchvision 0.15.2"),
        ((TORCH, PIN, package("torchaudio", "2.0.2", "py310_cu117")), "a build for CUDA 11.7"),
        ((TORCH, PIN, package("pytorch-mutex", "1.0", "cpu")), "selects CPU builds"),
        ((package("pytorch", "2.0.1", "py3.10_cuda11.8_0"), PIN), "depends on none of"),
    ],
)
def test_not_the_cuda_asked_for(packages: tuple[LockedPackage, ...], told: str) -> None:
    with pytest.raises(WrongBuild, match=r"asked for CUDA 11\.8 on linux-64") as error:
        check(*packages)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("packages", "told"),
    [
        ((TORCH, PIN), "a build for CUDA 11.8"),
        ((CPU_TORCH, package("pytorch-mutex", "1.0", "cuda")), "selects CUDA builds"),
        ((CPU_TORCH, package("cuda-cudart", "12.6")), "belongs to CUDA"),
        ((CPU_TORCH, package("libtorch", "2.7.1", "cuda_mkl_h1_0")), "a build for CUDA"),
    ],
)
def test_not_the_cpu_asked_for(packages: tuple[LockedPackage, ...], told: str) -> None:
    with pytest.raises(WrongBuild, match="asked for CPU") as error:
        check(*packages, cuda=None)
    assert told in str(error.value)


def test_later_libraries_of_one_major_release_are_right_on_conda_forge_only() -> None:
    """There torch asks for a floor; in the pytorch channel for one minor release."""
    check(CF_TORCH, package("cuda-version", "12.9"), cuda=CU126, source="conda-forge")
    for version in ("12.4", "13.0"):
        with pytest.raises(WrongBuild, match="cuda-version"):
            check(CF_TORCH, package("cuda-version", version), cuda=CU126, source="conda-forge")
    check(TORCH, PIN, package("cuda-version", "12.6"))


def test_wheels() -> None:
    """Their label counts, then what they bring along."""
    check(wheel("torch", "2.7.1+cu126"), cuda=CU126, source="wheels")
    check(wheel("torch", "2.7.1+cpu"), cuda=None, source="wheels")
    with pytest.raises(WrongBuild, match="torch"):
        check(wheel("torch", "2.7.1+cpu"), cuda=CU126, source="wheels")
    with pytest.raises(WrongBuild, match="CUDA"):
        check(wheel("torch", "2.7.1"), wheel("nvidia-cublas-cu12", "12.6"), cuda=None)


@pytest.mark.parametrize(
    ("packages", "version"),
    [
        ((TORCH,), "8.7.0"),
        ((package("pytorch", "2.0.1", "py3.10_cuda11.8_cudnn8_0"),), None),
        ((CF_TORCH, package("cudnn", "9.10.2.21")), "9.10.2.21"),
        ((CF_TORCH, package("libcudnn", "9.10.2.21")), "9.10.2.21"),
        ((wheel("torch", "2.7.1"), wheel("nvidia-cudnn-cu12", "9.5.1.17")), "9.5.1.17"),
        ((), None),
    ],
)
def test_cudnn(packages: tuple[LockedPackage, ...], version: str | None) -> None:
    """The build string first; a bare major (Windows) says too little."""
    assert cudnn_version(packages) == version
