"""Locked packages, and the claim of a lock."""

from __future__ import annotations

import random
from dataclasses import replace

from fakes.installing import conda_package, lock_of, wheel

from envforge.model.cuda import ComputeCapability
from envforge.model.lock import LockedPackage, Target

CONDA = LockedPackage(
    platform="linux-64",
    name="pytorch",
    version="2.0.1",
    build="py3.10_cuda11.8_cudnn8.7.0_0",
    url="https://conda.anaconda.org/pytorch/linux-64/pytorch-2.0.1-py3.10_cuda11.8_cudnn8.7.0_0.tar.bz2",
    sha256="0" * 64,
)


def test_what_an_address_says() -> None:
    assert CONDA.filename == "pytorch-2.0.1-py3.10_cuda11.8_cudnn8.7.0_0.tar.bz2"
    assert CONDA.subdir == "linux-64"
    assert CONDA.channel_url == "https://conda.anaconda.org/pytorch"


def test_an_address_may_be_quoted_and_have_a_query() -> None:
    """As wheels with a local version have it."""
    url = "https://host/whl/cu126/torch-2.7.1%2Bcu126-cp312-cp312-linux_x86_64.whl?x=/y#z"
    found = replace(CONDA, manager="pip", url=url)

    assert found.filename == "torch-2.7.1+cu126-cp312-cp312-linux_x86_64.whl"


def test_packages_sort_by_platform_then_name() -> None:
    """The order in which locks are written."""
    expected = [
        replace(CONDA, platform="linux-64", name="a"),
        replace(CONDA, platform="linux-64", name="b"),
        replace(CONDA, platform="win-64", name="a"),
    ]
    shuffled = random.Random(1).sample(expected, 3)

    assert sorted(shuffled) == expected


def test_packages_of_a_platform_and_by_name() -> None:
    """conda's comes before a wheel of that name."""
    numpy, also, other = conda_package("numpy"), wheel("numpy"), wheel("einops", platform="win-64")
    lock = lock_of(numpy, also, other)

    assert lock.for_platform("win-64") == (other,)
    assert lock.for_platform("osx-arm64") == ()
    assert lock.find("numpy", "linux-64") is numpy
    assert lock.find("einops", "linux-64") is None


def test_architectures_without_their_ptx_marks() -> None:
    target = Target(
        torch="2.7.1",
        cuda=None,
        cudnn=None,
        python="3.12",
        source="wheels",
        architectures=("7.5", "9.0+PTX"),
    )

    assert target.capabilities() == (ComputeCapability(7, 5), ComputeCapability(9, 0))
