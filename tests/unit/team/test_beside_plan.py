"""What a folder for another torch or CUDA takes over."""

from __future__ import annotations

import pytest

from envforge.formats.conda import environment_yml
from envforge.formats.conda.environment_yml import EnvironmentDocument
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Platform
from envforge.model.spec import Dependency, VirtualPackage
from envforge.team import beside_plan

TEXT = """\
name: p-torch20-cu118
channels: [https://site.example/own, nvidia, conda-forge, pytorch, nodefaults]
platforms: [linux-64]
dependencies:
  - {python}
  - pip
  - pytorch::pytorch=2.0.1=*cuda11.8*
  - pytorch::pytorch-cuda=11.8
  - pytorch::torchvision=0.15.2
  - numpy=1.26.4  # asked: <2; torch before 2.3 was built for NumPy 1
  - mkl=2024.0.0  # asked: <2024.1; torch does not import
  - pandas=2.2.0  # asked: >=2; for the tables
  - pip:
      - einops==0.8.0  # asked: any
"""
KNOWN_BAD = {("mkl", "<2024.1"), ("numpy", "<2"), ("setuptools", "<82")}
CU126 = CudaVersion(12, 6)


def document(python: str = "python=3.10.14  # asked: =3.10") -> EnvironmentDocument:
    return environment_yml.read(TEXT.format(python=python), "environment.yml")


def test_the_lines_that_are_not_about_torch_are_carried_over() -> None:
    """With the ranges that were asked for; torch's partners without a version."""
    assert beside_plan.carried(document(), KNOWN_BAD) == (
        Dependency(name="torchvision"),
        Dependency(name="pandas", version=">=2", comment="for the tables"),
        Dependency(name="einops", manager="pip"),
    )


@pytest.mark.parametrize("comment", ["asked: <1.25; torch before 2.3", "asked: <2"])
def test_a_range_of_one_s_own_stays(comment: str) -> None:
    """A person may want an older numpy than torch does, and envforge gives its reasons."""
    before = "asked: <2; torch before 2.3 was built for NumPy 1"
    own = environment_yml.read(
        TEXT.format(python="python=3.10").replace(before, comment), "environment.yml"
    )

    names = [item.name for item in beside_plan.carried(own, KNOWN_BAD)]
    assert names == ["torchvision", "numpy", "pandas", "einops"]


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("python=3.10.14  # asked: =3.10", "3.10"),
        ("python=3.10", "3.10"),
        ("python=3.10.14", "3.10"),
        ("python==3.10.*", "3.10"),
        ("python=3.10.14  # asked: >=3.9", None),
        ("python", None),
    ],
)
def test_python_is_read_without_its_patch_release(line: str, asked: str | None) -> None:
    assert beside_plan.asked_python(document(line).spec) == asked


def test_channels_of_one_s_own() -> None:
    assert beside_plan.further_channels(document().spec) == ("https://site.example/own",)


def machine(**versions: str) -> tuple[VirtualPackage, ...]:
    return tuple(
        sorted(VirtualPackage(name=f"__{key}", version=value) for key, value in versions.items())
    )


@pytest.mark.parametrize(
    ("old", "fresh", "cuda", "found"),
    [
        ({"cuda": "11.8", "glibc": "2.28"}, {"cuda": "12.6", "glibc": "2.28"}, CU126, None),
        (
            {"cuda": "12.9", "glibc": "2.17", "archspec": "9"},
            {"cuda": "12.6", "glibc": "2.28", "archspec": "1", "linux": "5.10"},
            CU126,
            {"cuda": "12.9", "glibc": "2.28", "archspec": "9"},
        ),
        ({"cuda": "11.8", "glibc": "2.35"}, {"glibc": "2.28"}, None, {"glibc": "2.35"}),
        ({"glibc": "2.28"}, {"cuda": "12.6", "glibc": "2.28"}, CU126, None),
    ],
)
def test_the_machine_stays_the_one_that_was_described(
    old: dict[str, str], fresh: dict[str, str], cuda: CudaVersion | None, found: dict[str, str]
) -> None:
    """Only raised to what the build needs; None: as it would be described anew."""
    platform: Platform = "linux-64"
    raised = beside_plan.machine_of({platform: machine(**old)}, {platform: machine(**fresh)}, cuda)

    assert raised == {platform: machine(**(found or fresh))}


def test_a_platform_without_cuda_gets_none() -> None:
    fresh = {"osx-arm64": machine(osx="11.0"), "linux-64": machine(cuda="12.6")}
    old = {"osx-arm64": machine(osx="13.0")}

    assert beside_plan.machine_of(old, fresh, CU126) == {  # type: ignore[arg-type]
        "osx-arm64": machine(osx="13.0"),
        "linux-64": machine(cuda="12.6"),
    }
