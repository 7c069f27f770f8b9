"""Versions of the libraries that torch stands on."""

from __future__ import annotations

from fakes.facts import prefix

from envforge.model.prefix import InstalledPackage
from envforge.verify.components import components


def conda(name: str, version: str) -> InstalledPackage:
    return InstalledPackage(name=name, manager="conda", version=version)


def wheel(name: str, version: str) -> InstalledPackage:
    return InstalledPackage(name=name, manager="pip", version=version)


def test_conda_packages_and_wheels_are_the_same_components() -> None:
    by_conda = prefix(conda=(conda("libcublas", "12.6.4.1"), conda("mkl", "2024.0")))
    by_wheels = prefix(conda=(), wheels=(wheel("nvidia-cublas-cu12", "12.6.4.1"),))

    assert components(by_conda) == {"cuBLAS": "12.6.4.1", "MKL": "2024.0"}
    assert components(by_wheels) == {"cuBLAS": "12.6.4.1"}


def test_two_of_one_are_both_named() -> None:
    both = prefix(conda=(conda("nccl", "2.26.5.1"),), wheels=(wheel("nvidia-nccl-cu12", "2.21.5"),))

    assert components(both) == {"NCCL": "2.26.5.1 and 2.21.5"}


def test_names_that_only_begin_alike_do_not_count() -> None:
    assert components(prefix(conda=(conda("mkl-service", "2.4"), conda("nccl-tests", "2")))) == {}
