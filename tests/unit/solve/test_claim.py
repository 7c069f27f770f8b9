"""What a name and an environment.yml claim."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envforge.errors import InvalidFile, InvalidValue
from envforge.model.cuda import CudaVersion
from envforge.model.lock import Target
from envforge.model.spec import Dependency, EnvironmentSpec, Source
from envforge.solve.claim import Claim, contradictions, read_claim

NAME = "nlp-bert-torch20-cu118"
PYTORCH = Dependency(name="pytorch", version="=2.0.1", build="*cuda11.8*", channel="pytorch")
PYTHON = Dependency(name="python", version="=3.10.14")
WHEEL = Dependency(name="torch", version="==2.7.1", manager="pip")
ADDRESS = "https://download.pytorch.org/whl/cu118/torch-2.0.1%2Bcu118-cp310-cp310-linux_x86_64.whl"
TARGET = Target(
    torch="2.0.1", cuda=CudaVersion(11, 8), cudnn=None, python="3.10.14", source="pytorch"
)


def spec(*dependencies: Dependency, name: str = NAME) -> EnvironmentSpec:
    return EnvironmentSpec(
        name=name, channels=("conda-forge",), dependencies=dependencies, platforms=("linux-64",)
    )


def claimed(*dependencies: Dependency, name: str = NAME) -> Claim:
    return read_claim(spec(*dependencies, name=name), "environment.yml")


def test_a_whole_claim() -> None:
    assert claimed(PYTHON, PYTORCH) == Claim(
        project="nlp-bert",
        torch="2.0.1",
        cuda=CudaVersion(11, 8),
        python="3.10.14",
        source="pytorch",
    )


@pytest.mark.parametrize(
    ("name", "project", "cuda"),
    [
        ("x-torch20-cpu", "x", None),
        ("a.b_c-d-torch113-cu117", "a.b_c-d", CudaVersion(11, 7)),
        ("x-torch20-torch210-cu129", "x-torch20", CudaVersion(12, 9)),
        ("0-torch20-cu92", "0", CudaVersion(9, 2)),
    ],
)
def test_names(name: str, project: str, cuda: CudaVersion | None) -> None:
    found = claimed(PYTORCH, name=name)

    assert (found.project, found.cuda, found.python) == (project, cuda, None)


@pytest.mark.parametrize(
    "name", ["nlp-bert", "nlp-torch20", "nlp-torch2-cu118", "Nlp-torch20-cpu", "-torch20-cpu", ""]
)
def test_other_names_are_refused_with_an_example(name: str) -> None:
    with pytest.raises(InvalidFile, match="is not of the form PROJECT-torchXY-cuZZZ") as caught:
        claimed(PYTORCH, name=name)

    assert NAME in str(caught.value.hint)


@pytest.mark.parametrize(
    ("dependencies", "source"),
    [
        ((PYTORCH,), "pytorch"),
        ((replace(PYTORCH, channel=None), Dependency(name="pytorch-cuda")), "pytorch"),
        ((replace(PYTORCH, channel=None),), "conda-forge"),
        ((replace(PYTORCH, channel="conda-forge"),), "conda-forge"),
        ((WHEEL,), "wheels"),
    ],
)
def test_where_torch_comes_from(dependencies: tuple[Dependency, ...], source: Source) -> None:
    assert claimed(*dependencies).source == source


@pytest.mark.parametrize("version", ["=2.0.1", "==2.0.1", "2.0.1", "=2.0", "==2.0.1+cu118"])
def test_pins_as_people_write_them(version: str) -> None:
    assert claimed(replace(PYTORCH, version=version)).torch.startswith("2.0")


def test_a_wheel_by_its_address_is_pinned() -> None:
    """So `lock` writes it back; the version is in the file's name."""
    wheel = Dependency(name="torch", manager="pip", url=f"{ADDRESS}#sha256={'a' * 64}")
    found = claimed(PYTHON, wheel)

    assert (found.torch, found.source) == ("2.0.1", "wheels")
    with pytest.raises(InvalidValue, match="wheel file name"):
        claimed(replace(wheel, url="https://host/torch.tar.gz"))


@pytest.mark.parametrize(
    ("dependencies", "said"),
    [
        ((PYTHON,), "`pytorch` or `torch` is not among them"),
        ((replace(PYTORCH, version=""),), "torch is not pinned"),
        ((replace(PYTORCH, version=">=2.0"),), "torch is not pinned"),
        ((replace(PYTORCH, version="*"),), "torch is not pinned"),
    ],
)
def test_a_torch_that_is_not_pinned(dependencies: tuple[Dependency, ...], said: str) -> None:
    with pytest.raises(InvalidFile, match=said) as caught:
        claimed(*dependencies)

    assert "pytorch=2.7.1" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("folder", "declared", "target", "said"),
    [
        (NAME, NAME, TARGET, []),
        (
            "x-torch20-cpu",
            NAME,
            TARGET,
            [f"the folder is `x-torch20-cpu`, and `name:` is `{NAME}`"],
        ),
        ("x", "x", TARGET, ["`x` is not of the form PROJECT-torchXY-cuZZZ or -cpu"]),
        (
            NAME,
            NAME,
            replace(TARGET, torch="2.1.0"),
            ["the name claims torch 2.0, locked is 2.1.0"],
        ),
        (NAME, NAME, replace(TARGET, cuda=None), ["the name claims cu118, locked is cpu"]),
        (
            NAME,
            NAME,
            replace(TARGET, torch="1.13.1", cuda=CudaVersion(11, 7)),
            [
                "the name claims torch 2.0, locked is 1.13.1",
                "the name claims cu118, locked is cu117",
            ],
        ),
    ],
)
def test_contradictions(folder: str, declared: str, target: Target, said: list[str]) -> None:
    assert list(contradictions(folder, declared, target)) == said
