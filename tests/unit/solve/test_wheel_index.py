"""Which index serves torch, and what its wheels are built for."""

from __future__ import annotations

from pathlib import Path

import pytest

from envforge.errors import InvalidValue
from envforge.model.lock import LockedPackage
from envforge.solve.wheel_index import (
    build_label,
    disagreements,
    torch_accelerator,
    torch_index_url,
)


def wheel(name: str, version: str, platform: str = "linux-64") -> LockedPackage:
    url = f"https://files.example/{name}-{version}-py3-none-any.whl"
    return LockedPackage(
        platform=platform, name=name, manager="pip", version=version, url=url, sha256="a" * 64
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("pytorch", "https://download.pytorch.org/whl/cu126"),
        ("site", None),
        ("https://wheels.example/pt/cu126/", "https://wheels.example/pt/cu126"),
        ("https://wheels.example/{accelerator}", "https://wheels.example/cu126"),
        ("file:///srv/wheels", "file:///srv/wheels"),
        ("/srv/wheels", "file:///srv/wheels"),
        ("./wheels", Path("wheels").absolute().as_uri()),
    ],
)
def test_the_index_is_decided_before_anything_is_asked(given: str, expected: str | None) -> None:
    assert torch_index_url(given, "cu126") == expected


@pytest.mark.parametrize("given", ["", "torch", "ftp://x/y", "https://", "cu126"])
def test_what_is_no_index_is_refused(given: str) -> None:
    with pytest.raises(InvalidValue, match="neither"):
        torch_index_url(given, "cpu")


@pytest.mark.parametrize(
    ("packages", "found"),
    [
        ([], None),
        ([wheel("torch", "2.6.0+cu126")], "cu126"),
        ([wheel("torch", "2.6.0+cpu")], "cpu"),
        ([wheel("torch", "2.6.0+cpu.cxx11.abi")], "cpu"),
        ([wheel("torch", "2.6.0+rocm6.2.4")], "rocm6.2.4"),
        # The plain Linux build is a CUDA build, told by what it needs.
        ([wheel("torch", "2.6.0"), wheel("nvidia-cuda-runtime-cu12", "12.4.127")], "cu124"),
        ([wheel("torch", "2.13.0"), wheel("cuda-toolkit", "13.0.3.0")], "cu130"),
        ([wheel("torch", "2.13.0"), wheel("nvidia-nccl-cu13", "2.29.7")], "CUDA"),
        ([wheel("torch", "1.12.1")], "cu102"),
        ([wheel("torch", "1.12.1", "win-64")], "cpu"),
        ([wheel("torch", "2.6.0", "osx-arm64")], "cpu"),
        ([wheel("torch", "2.6.0")], "cpu"),
    ],
)
def test_a_build_is_recognised(packages: list[LockedPackage], found: str | None) -> None:
    assert torch_accelerator(packages) == found


def test_both_directions_are_asserted() -> None:
    """A CPU build where CUDA was asked for, and a CUDA build where CPU was."""
    cpu = [wheel("torch", "2.6.0+cpu")]
    cuda = [wheel("torch", "2.6.0+cu126"), wheel("nvidia-cuda-runtime-cu12", "12.6.77")]

    assert disagreements(cpu, "cpu") == disagreements(cuda, "cu126") == ()
    assert disagreements(cpu, "cu126") == ("torch 2.6.0+cpu, a build for cpu",)
    assert disagreements(cuda, "cpu") == ("torch 2.6.0+cu126, a build for cu126",)


def test_partners_and_libraries_must_agree_too() -> None:
    packages = [
        wheel("torch", "2.6.0+cu126"),
        wheel("torchvision", "0.21.0+cpu"),
        wheel("torchaudio", "2.6.0"),
        wheel("nvidia-cuda-runtime-cu12", "12.4.127"),
    ]

    assert disagreements(packages, "cu126") == (
        "torchvision 0.21.0+cpu",
        "nvidia-cuda-runtime-cu12 12.4.127",
    )


def test_a_version_that_is_none_has_no_label() -> None:
    assert build_label(wheel("torch", "not a version")) is None
