"""Virtual packages follow from the request, and from nothing on this machine."""

from __future__ import annotations

import pytest

from envforge.model.choice import Choice
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Platform
from envforge.solve.targets import all_virtual_packages, virtual_packages

GPU = Choice(torch="2.7.1", cuda=CudaVersion(12, 6), python="3.12", source="conda-forge")
CPU = Choice(torch="2.7.1", cuda=None, python="3.12", source="conda-forge")


def said(
    platform: Platform, choice: Choice = GPU, overrides: dict[str, str] | None = None
) -> dict[str, str]:
    found = virtual_packages(platform, choice, overrides)
    return {item.name: f"{item.version} {item.build}" for item in found}


def test_linux() -> None:
    """The baseline processor, a C library of 2018, and the CUDA asked for."""
    assert said("linux-64") == {
        "__archspec": "1 x86_64",
        "__cuda": "12.6 0",
        "__glibc": "2.28 0",
        "__linux": "5.10 0",
        "__unix": "0 0",
    }


def test_other_platforms() -> None:
    assert said("linux-aarch64")["__archspec"] == "1 aarch64"
    assert said("win-64") == {"__archspec": "1 x86_64", "__cuda": "12.6 0", "__win": "0 0"}
    assert said("osx-arm64", CPU) == {"__archspec": "1 arm64", "__osx": "11.0 0", "__unix": "0 0"}


def test_no_cuda_for_cpu_and_for_apple() -> None:
    assert "__cuda" not in said("linux-64", CPU)
    assert "__cuda" not in said("osx-arm64", GPU)


@pytest.mark.parametrize(
    ("needed", "given"), [(None, "2.28"), ("2.17", "2.28"), ("2.28", "2.28"), ("2.34", "2.34")]
)
def test_the_c_library_is_what_the_build_needs_at_least(needed: str | None, given: str) -> None:
    choice = Choice(torch="2.7.1", cuda=None, python="3.12", source="wheels", min_glibc=needed)
    assert said("linux-64", choice)["__glibc"] == f"{given} 0"


def test_overrides_replace_and_remove() -> None:
    """The rules of CEP 30; an archspec is a build string."""
    changed = said(
        "linux-64",
        overrides={
            "CONDA_OVERRIDE_CUDA": "12.8",
            "CONDA_OVERRIDE_GLIBC": "2.17",
            "CONDA_OVERRIDE_ARCHSPEC": "x86_64_v3",
            "CONDA_OVERRIDE_LINUX": "",
            "CONDA_OVERRIDE_OSX": "14",
        },
    )
    assert changed == {
        "__archspec": "1 x86_64_v3",
        "__cuda": "12.8 0",
        "__glibc": "2.17 0",
        "__unix": "0 0",
    }


def test_an_override_does_not_give_a_cpu_target_cuda() -> None:
    assert "__cuda" not in said("linux-64", CPU, {"CONDA_OVERRIDE_CUDA": "12.8"})


def test_all_platforms_at_once() -> None:
    found = all_virtual_packages(("linux-64", "win-64"), GPU)
    assert found["win-64"] == virtual_packages("win-64", GPU)
    assert list(found) == ["linux-64", "win-64"]
