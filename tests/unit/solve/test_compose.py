"""A request and a choice become environment.yml."""

from __future__ import annotations

from typing import Any

import pytest

from envforge.errors import InvalidValue
from envforge.formats.conda.conda_spec import format_dependency
from envforge.model.choice import Choice
from envforge.model.cuda import CudaVersion
from envforge.model.spec import EnvironmentSpec, Request
from envforge.solve.compose import compose

PAIRS = {"torchvision": "0.15.2", "torchaudio": "2.0.2", "triton": "2.0.0"}


def choice(**changes: Any) -> Choice:
    fields: dict[str, Any] = {
        "torch": "2.0.1",
        "cuda": CudaVersion(11, 8),
        "python": "3.10",
        "source": "pytorch",
        "metapackage": "pytorch-cuda",
        "companions": PAIRS,
    }
    return Choice(**(fields | changes))


CONDA_FORGE = choice(
    torch="2.7.1",
    cuda=CudaVersion(12, 6),
    python="3.12",
    source="conda-forge",
    metapackage="cuda-version",
)
WHEELS = choice(torch="2.7.1", cuda=CudaVersion(12, 6), source="wheels", metapackage=None)


def composed(
    chosen: Choice, *packages: str, template: tuple[str, ...] = (), **changes: Any
) -> EnvironmentSpec:
    host = changes.pop("host_python", None)
    fields: dict[str, Any] = {"project": "p", "torch": chosen.torch, "cuda": chosen.cuda}
    request = Request(**(fields | {"packages": packages} | changes))
    return compose(request, chosen, template, "p-torch20-cu118", host_python=host)


def lines(chosen: Choice, *packages: str, **changes: Any) -> list[str]:
    found = composed(chosen, *packages, **changes)
    return [
        ("pip: " if item.manager == "pip" else "") + format_dependency(item)
        for item in found.dependencies
    ]


def test_the_pytorch_channel() -> None:
    """Its packages by prefix, companions in their official pair, other names as they are."""
    assert lines(choice(), "torchvision", "torchaudio", "transformers>=4.40") == [
        "python=3.10",
        "pytorch::pytorch=2.0.1=*cuda11.8*",
        "pytorch::pytorch-cuda=11.8",
        "pytorch::torchvision=0.15.2",
        "pytorch::torchaudio=2.0.2",
        "transformers>=4.40",
    ]
    assert composed(choice()).channels == ("nvidia", "conda-forge", "pytorch", "nodefaults")


@pytest.mark.parametrize(
    ("cuda", "line"),
    [
        (CudaVersion(11, 3), "nvidia::cudatoolkit=11.3"),
        (CudaVersion(11, 6), "conda-forge::cudatoolkit=11.6"),
    ],
)
def test_torch_before_1_13_takes_cudatoolkit(cuda: CudaVersion, line: str) -> None:
    old = choice(torch="1.12.1", cuda=cuda, metapackage="cudatoolkit", companions={})
    assert lines(old)[1:] == [f"pytorch::pytorch=1.12.1=*cuda{cuda}*", line]


def test_a_cpu_build_of_the_pytorch_channel() -> None:
    cpu = choice(cuda=None, metapackage=None)
    assert lines(cpu)[1:] == ["pytorch::pytorch=2.0.1=*cpu*", "pytorch::cpuonly"]
    assert composed(cpu).channels == ("conda-forge", "pytorch", "nodefaults")


def test_on_apple_the_build_string_names_no_accelerator() -> None:
    cpu = choice(cuda=None, metapackage=None)
    assert lines(cpu, platforms=("linux-64", "osx-arm64"))[1] == "pytorch::pytorch=2.0.1"


def test_conda_forge() -> None:
    """Companions are left to the solver: conda-forge's builds say which torch they fit."""
    assert lines(CONDA_FORGE, "torchvision") == [
        "python=3.12",
        "pytorch=2.7.1=*cuda126*",
        "cuda-version=12.6",
        "torchvision",
    ]
    cpu = choice(torch="2.7.1", cuda=None, source="conda-forge", metapackage=None)
    assert lines(cpu) == ["python=3.10", "pytorch=2.7.1=cpu*"]
    assert composed(cpu).channels == ("conda-forge", "nodefaults")


def test_wheels() -> None:
    """Python and pip from conda; every other package under its name on the registry."""
    assert lines(WHEELS, "torchvision", "pytables=3.9", "torch", "numpy>=1.26,<2") == [
        "python=3.10",
        "pip",
        "pip: torch==2.7.1",
        "pip: torchvision==0.15.2",
        "pip: tables==3.9.*",
        "pip: numpy<2,>=1.26",
    ]


def test_the_hosts_python_needs_no_channel() -> None:
    host = choice(source="wheels", metapackage=None, python="host")
    found = composed(host, host_python="3.11.7")
    assert found.channels == ("nodefaults",)
    assert [item.name for item in found.conda()] == ["python"]
    assert found.dependencies[0].version == "=3.11.7"


def test_the_persons_channels_come_first_and_hold_no_secret() -> None:
    given = (
        "https://u:secret@host/mine",
        "https://host/t/TOKEN/ours",
        "https://host/t/$NAMED/theirs",
        "conda-forge",
    )
    assert composed(CONDA_FORGE, channels=given).channels == (
        "https://host/mine",
        "https://host/ours",
        "https://host/t/$NAMED/theirs",
        "conda-forge",
        "nodefaults",
    )


def test_who_asks_for_defaults_gets_them() -> None:
    assert composed(CONDA_FORGE, channels=("defaults",)).channels == ("defaults", "conda-forge")


def test_a_persons_wish_replaces_the_templates() -> None:
    found = lines(CONDA_FORGE, "pandas=1.5", template=("pandas>=2", "scipy", "python>=3.9"))
    assert found[3:] == ["pandas=1.5", "scipy"]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("torch", "pytorch::pytorch=2.0.1=*cuda11.8*"),
        ("pytorch>=2", "pytorch::pytorch=2.0.1=*cuda11.8*"),
        ("pytorch=2.0", "pytorch::pytorch=2.0.1=*cuda11.8*"),
        ("pytorch=2.0.1=*cuda11.8*", "pytorch::pytorch=2.0.1=*cuda11.8*"),
        (
            "pytorch=2.0.1=py3.10_cuda11.8_cudnn8.7.0_0",
            "pytorch::pytorch=2.0.1=py3.10_cuda11.8_cudnn8.7.0_0",
        ),
        ("pytorch=2.0.1=*cuda*", "pytorch::pytorch=2.0.1=*cuda11.8*"),
    ],
)
def test_torch_asked_for_again_in_agreement(given: str, line: str) -> None:
    assert lines(choice(), given)[1] == line


def test_python_may_be_said_more_exactly() -> None:
    assert lines(choice(), "python=3.10.14")[0] == "python=3.10.14"
    assert lines(choice(), "python 3.10.14")[0] == "python=3.10.14"
    assert lines(choice(), "python>=3.9,<3.12")[0] == "python=3.10"


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ("pytorch=2.1", "--torch"),
        ("torch>=2.1", "--torch"),
        ("pytorch=2.0.1=*cpu*", "--torch"),
        ("python=3.9", "--python"),
        ("python>=3.11", "--python"),
        ("pytorch-cuda=12.1", "--cuda"),
        ("cudatoolkit=11.7", "--cuda"),
        ("cpuonly", "--cuda"),
        ("pytorch-cpu", "--cuda"),
    ],
)
def test_contradictions_name_the_option(given: str, option: str) -> None:
    with pytest.raises(InvalidValue, match="contradicts") as error:
        lines(choice(), given)
    assert error.value.value == given
    assert option in (error.value.hint or "")


def test_cuda_asked_for_in_a_cpu_environment() -> None:
    for given in ("cudatoolkit", "pytorch-gpu", "cuda-version=12"):
        with pytest.raises(InvalidValue, match="the request is for CPU"):
            lines(choice(cuda=None, metapackage=None), given)


def test_cudatoolkit_ends_with_11_8() -> None:
    with pytest.raises(InvalidValue, match=r"ends with CUDA 11\.8"):
        lines(CONDA_FORGE, "cudatoolkit")


def test_cuda_packages_in_agreement() -> None:
    """They get the CUDA asked for; with wheels, which bring their own, they go."""
    assert lines(choice(), "cudatoolkit", "pytorch-cuda")[2:] == [
        "pytorch::pytorch-cuda=11.8",
        "cudatoolkit=11.8",
    ]
    assert lines(CONDA_FORGE, "pytorch-gpu")[3:] == ["pytorch-gpu"]
    assert lines(WHEELS, "cuda-version=12.6")[3:] == []
    cpu = choice(cuda=None, metapackage=None)
    assert lines(cpu, "cpuonly") == lines(cpu)


def test_one_package_twice() -> None:
    """Ranges are joined, a version in a range wins, extras and channels gather."""
    assert lines(CONDA_FORGE, "numpy", "numpy>=1.26")[3:] == ["numpy>=1.26"]
    assert lines(CONDA_FORGE, "numpy>=1.26", "numpy<2")[3:] == ["numpy>=1.26,<2"]
    assert lines(CONDA_FORGE, "numpy>=1.26", "numpy=1.26.4")[3:] == ["numpy=1.26.4"]
    assert lines(CONDA_FORGE, "numpy=1.26.4", "numpy>=1.26")[3:] == ["numpy=1.26.4"]
    assert lines(CONDA_FORGE, "numpy", "mine::numpy")[3:] == ["mine::numpy"]
    assert lines(CONDA_FORGE, "numpy=1.26=py312*", "numpy=1.26")[3:] == ["numpy=1.26=py312*"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("numpy=1.26", "numpy>=2"), ("numpy>=2", "numpy=1.26"), ("numpy=1.25", "numpy=1.26")],
)
def test_one_package_twice_in_contradiction(first: str, second: str) -> None:
    with pytest.raises(InvalidValue, match=f"`{first}` was asked for too"):
        lines(CONDA_FORGE, first, second)


def test_versions_that_only_conda_has_are_left_to_the_solver() -> None:
    assert lines(CONDA_FORGE, "tzdata>=2024a", "tzdata=2024b")[3:] == ["tzdata=2024b"]
    assert lines(CONDA_FORGE, "numpy=1.26|=2.0", "numpy=2.0")[3:] == ["numpy=2.0"]


def test_variables_and_platforms_are_carried() -> None:
    request = Request(
        project="p", torch="2.0.1", cuda=CudaVersion(11, 8), platforms=("linux-64", "win-64")
    )
    spec = compose(request, choice(), (), "n", variables={"A": "1"})
    assert (spec.name, spec.platforms, spec.variables) == ("n", ("linux-64", "win-64"), {"A": "1"})
