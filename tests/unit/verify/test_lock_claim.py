"""What a lock of another tool is for, told by its packages."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.lock import LockedPackage
from envforge.verify.lock_claim import claim_of

LOCKS = Path(os.environ.get("ENVFORGE_TEST_LOCKS", Path(__file__).parents[4] / "shared" / "locks"))


def conda(
    name: str, version: str, build: str = "h0_0", channel: str = "conda-forge", **o: Any
) -> LockedPackage:
    fields = {
        "platform": "linux-64",
        "name": name,
        "version": version,
        "build": build,
        "url": f"https://conda.anaconda.org/{channel}/linux-64/{name}-{version}-{build}.conda",
        "sha256": "0" * 64,
    }
    return LockedPackage(**{**fields, **o})


def wheel(name: str, version: str, url: str = "", platform: str = "linux-64") -> LockedPackage:
    return LockedPackage(
        platform=platform,
        name=name,
        manager="pip",
        version=version,
        url=url or f"https://files.pythonhosted.org/packages/{name}-{version}-py3-none-any.whl",
        sha256="0" * 64,
    )


INDEX = "https://download.pytorch.org/whl/cu124/torch-2.6.0-cp311-cp311-linux_x86_64.whl"
PT = "pytorch"


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        ([conda(PT, "2.0.1", "py3.10_cuda11.8_cudnn8.7.0_0", PT)], "pytorch 2.0.1 11.8"),
        ([conda(PT, "1.7.1", "py3.8_cuda10.1.243_cudnn7.6.3_0", PT)], "pytorch 1.7.1 10.1"),
        ([conda(PT, "2.5.1", "py3.12_cpu_0", PT)], "pytorch 2.5.1 cpu"),
        ([conda(PT, "2.1.2", "cuda118_py311hbcf62cf_300")], "conda-forge 2.1.2 11.8"),
        ([conda(PT, "1.13.1", "cuda112py39hb0b7ed5_200")], "conda-forge 1.13.1 11.2"),
        ([conda(PT, "2.12.0", "cuda130_generic_py314_h0_200")], "conda-forge 2.12.0 13.0"),
        ([conda(PT, "2.7.1", "cpu_mkl_py312_h8abce0f_103")], "conda-forge 2.7.1 cpu"),
        ([conda("libtorch", "2.7.1", "cuda126_generic_h0_200")], "conda-forge 2.7.1 12.6"),
        # the build does not say: what pins CUDA, or the CPU, does
        ([conda(PT, "2.3.0", "h0_0"), conda("cuda-version", "12.4")], "conda-forge 2.3.0 12.4"),
        ([conda(PT, "1.9.0", "h0_0", PT), conda("cudatoolkit", "10.2.89")], "pytorch 1.9.0 10.2"),
        ([conda(PT, "2.3.0", "h0_0"), conda("cpuonly", "2.0")], "conda-forge 2.3.0 cpu"),
        (
            [conda(PT, "2.3.0", "h0_0", PT), conda("pytorch-mutex", "1.0", "cpu")],
            "pytorch 2.3.0 cpu",
        ),
        ([conda(PT, "2.3.0", "h0_0")], None),
        # wheels: local version, index, runtime beside it, the registry's own
        ([wheel("torch", "2.6.0+cu124")], "wheels 2.6.0 12.4"),
        ([wheel("torch", "2.6.0+cpu")], "wheels 2.6.0 cpu"),
        ([wheel("torch", "2.6.0", INDEX)], "wheels 2.6.0 12.4"),
        ([wheel("torch", "2.6.0", INDEX.replace("cu124", "cpu"))], "wheels 2.6.0 cpu"),
        (
            [wheel("torch", "9.9.0"), wheel("nvidia-cuda-runtime-cu12", "12.8.90")],
            "wheels 9.9.0 12.8",
        ),
        ([wheel("torch", "9.9.0"), wheel("nvidia-cuda-runtime", "13.0.96")], "wheels 9.9.0 13.0"),
        ([wheel("torch", "2.11.0")], "wheels 2.11.0 13.0"),
        ([wheel("torch", "9.9.0")], None),
        # not for NVIDIA, or no torch at all
        ([wheel("torch", "2.6.0+rocm6.2")], None),
        ([wheel("torch", "2.6.0+xpu")], None),
        ([conda("numpy", "2.2.6")], None),
        ([], None),
    ],
)
def test_accelerator_and_source(packages: list[LockedPackage], expected: str | None) -> None:
    found = claim_of(packages, "linux-64")
    told = f"{found.source} {found.torch} {found.cuda or 'cpu'}" if found else None
    assert told == expected


def test_the_rest_comes_from_the_tables() -> None:
    packages = [
        conda("pytorch", "2.0.1", "py3.10_cuda11.8_cudnn8.7.0_0", "pytorch"),
        conda("python", "3.10.14"),
    ]
    found = claim_of(packages, "linux-64")

    assert found is not None
    assert (found.cudnn, found.python, found.min_driver) == ("8.7.0", "3.10.14", "450.80.02")
    assert "9.0" in found.architectures
    assert claim_of(packages, "win-64") is None  # nothing is locked for it


def test_builds_that_nobody_described_have_no_architectures() -> None:
    """The `defaults` channel builds its own."""
    channel = "https://repo.anaconda.com/pkgs/main/linux-64/pytorch-2.5.1-gpu_cuda124_h0.conda"
    found = claim_of([conda("pytorch", "2.5.1", "gpu_cuda124py312h0_0", url=channel)], "linux-64")
    assert found is not None
    assert str(found.cuda) == "12.4"
    assert found.architectures == ()


def test_cudnn_is_that_of_the_package_where_the_build_does_not_name_it() -> None:
    packages = [wheel("torch", "2.6.0+cu124"), wheel("nvidia-cudnn-cu12", "9.1.0.70")]
    found = claim_of(packages, "linux-64")
    assert found is not None
    assert found.cudnn == "9.1.0.70"


def test_on_a_mac_there_is_but_one_kind() -> None:
    found = claim_of([wheel("torch", "2.6.0", platform="osx-arm64")], "osx-arm64")
    assert found is not None
    assert found.cuda is None


# --- real locks -----------------------------------------------------------------------------


def _explicit(path: Path) -> list[LockedPackage]:
    """The packages of an @EXPLICIT list, read off their addresses."""
    found = []
    for line in path.read_text().splitlines():
        url = line.partition("#")[0]
        name = re.fullmatch(
            r"(.+)-([^-]+)-([^-]+?)\.(?:conda|tar\.bz2)", unquote(url).rpartition("/")[2]
        )
        if name:
            found.append(conda(name[1], name[2], name[3], url=url))
    return found


@pytest.mark.parametrize(
    ("file", "platform", "expected"),
    [
        ("clay-torch2.1.2-cuda120.conda-lock.yml", "linux-64", "conda-forge 2.1.2 12.0"),
        ("clay-torch2.1.2-cuda120.conda-lock.yml", "osx-arm64", "conda-forge 2.1.2 cpu"),
        ("nlp-research-template-torch2.0.1-cu118.conda-lock.yml", "linux-64", "pytorch 2.0.1 11.8"),
        ("nlp-research-template-torch2.0.1-cu118.conda-lock.yml", "win-64", "pytorch 2.0.1 11.8"),
        (
            "nlp-research-template-torch1.13.0-cu117.explicit.lock",
            "linux-64",
            "pytorch 1.13.0 11.7",
        ),
        ("pangeo-torch2.7.1-cuda126.explicit.lock", "linux-64", "conda-forge 2.7.1 12.6"),
    ],
)
def test_real_locks_of_other_tools(file: str, platform: str, expected: str) -> None:
    path = LOCKS / file
    if not path.exists():
        pytest.skip(f"{file} is not here")
    if file.endswith(".yml"):
        packages = list(conda_lock_yml.read(path.read_text(), file).for_platform(platform))
    else:
        packages = _explicit(path)
    found = claim_of(packages, platform)

    assert found is not None
    assert f"{found.source} {found.torch} {found.cuda or 'cpu'}" == expected
    assert found.python.startswith("3.")
    assert bool(found.architectures) is (found.cuda is not None and platform == "linux-64")
