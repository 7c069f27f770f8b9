"""Every template solves against real channel metadata, for torch old and new."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from envforge.adapters.rattler_solver import RattlerSolver
from envforge.formats import template_yml
from envforge.formats.conda import conda_spec
from envforge.model.cuda import CudaVersion
from envforge.model.settings import Settings
from envforge.model.solving import Channel, CondaConflict, CondaProblem, CondaSolution
from envforge.model.spec import Constraint, Dependency, Source, VirtualPackage
from envforge.solve.templates import select

ENVIRONMENTS = Path(__file__).parents[2] / "templates" / "environments"
TEMPLATES = {
    path.stem: template_yml.read(path.read_text(encoding="utf-8"), str(path))
    for path in sorted(ENVIRONMENTS.glob("*.yml"))
}
FAMILY = ("torchvision", "torchaudio")
KNOWN_BAD = (
    Constraint(package="mkl", range="<2024.1", reason="", source="pytorch/pytorch#123097"),
    Constraint(package="numpy", range="<2", reason="", source="pytorch/pytorch#107302"),
)
VIRTUAL = (("__unix", "0", "0"), ("__linux", "5.10", "0"), ("__archspec", "1", "x86_64"))


@dataclass(frozen=True)
class Row:
    """One solvable target of the metadata, and what the sample of the channels lacks for it."""

    source: Source
    torch: str
    cuda: str | None
    python: str
    lacks: tuple[str, ...] = ()
    """Beside those in LACKS; each is asserted to be lacking still."""
    partners: tuple[str, str] = ("", "")

    def __str__(self) -> str:
        accelerator = f"cu{self.cuda.replace('.', '')}" if self.cuda else "cpu"
        return f"{self.torch}-{accelerator}-py{self.python}-{self.source}"


LACKS = {
    "peft": "the sample has no record of it",
    "trl": "the sample has no record of it",
    "sentencepiece": "its libsentencepiece is not in the sample",
    "evaluate": "its cookiecutter is not in the sample",
}
OLD = ("diffusers", "tensorboard")  # only 0.35.2 and its few; grpcio of the sample is newer
CF_TORCHVISION = ("torchvision", "timm")  # a handful of builds; timm needs one
ROWS = (
    Row(
        "pytorch",
        "1.13.1",
        "11.7",
        "3.10",
        (*OLD, "librosa", "statsmodels", "kornia"),
        ("0.14.1", "0.13.1"),
    ),
    Row(
        "pytorch",
        "2.0.1",
        "11.8",
        "3.10",
        (*OLD, "librosa", "statsmodels", "kornia"),
        ("0.15.2", "2.0.2"),
    ),
    Row(
        "pytorch",
        "2.0.1",
        None,
        "3.10",
        (*OLD, "librosa", "statsmodels", "kornia"),
        ("0.15.2", "2.0.2"),
    ),
    Row("pytorch", "2.1.0", "12.1", "3.11", OLD, ("0.16.0", "2.1.0")),
    Row("pytorch", "2.5.1", "12.4", "3.12", ("librosa",), ("0.20.1", "2.5.1")),
    Row("conda-forge", "2.5.1", "12.6", "3.12", ("torchaudio", "librosa")),
    Row(
        "conda-forge",
        "2.7.1",
        "12.9",
        "3.12",
        (*CF_TORCHVISION, "torchaudio", "librosa", "bitsandbytes", "tensorboard"),
    ),
    Row(
        "conda-forge",
        "2.9.1",
        "12.9",
        "3.12",
        (*CF_TORCHVISION, "torchaudio", "torchcodec", "librosa", "bitsandbytes", "tensorboard"),
    ),
    Row(
        "conda-forge",
        "2.10.0",
        "12.9",
        "3.14",
        (*CF_TORCHVISION, "datasets", "h5py", "kornia", "librosa", "tensorboard"),
    ),
    Row(
        "conda-forge",
        "2.10.0",
        None,
        "3.12",
        (*CF_TORCHVISION, "torchaudio", "torchcodec", "librosa", "tensorboard"),
    ),
    Row(
        "conda-forge",
        "2.12.1",
        "13",
        "3.14",
        (
            *CF_TORCHVISION,
            "torchaudio",
            "torchcodec",
            "datasets",
            "h5py",
            "kornia",
            "librosa",
            "tensorboard",
            "protobuf",
        ),
    ),
)


def torch_of(row: Row) -> list[Dependency]:
    """What is asked for beside the template, as the design's table of sources has it."""
    specs = [f"python={row.python}"]
    if row.source == "pytorch":
        pin = f"pytorch::pytorch-cuda={row.cuda}" if row.cuda else "pytorch::cpuonly"
        specs += [f"pytorch::pytorch=={row.torch}", pin]
    elif row.cuda:
        build = f"*cuda{row.cuda.replace('.', '')}*"
        specs += [f"pytorch=={row.torch}={build}", f"cuda-version={row.cuda}"]
    else:
        specs.append(f"pytorch=={row.torch}=*cpu*")
    return [conda_spec.parse(spec) for spec in specs]


def asked_for(row: Row, spec: str) -> Dependency:
    """A template's package; the torch family of the pytorch channel gets its official version."""
    if row.source == "pytorch" and spec in FAMILY:
        return conda_spec.parse(f"pytorch::{spec}=={row.partners[FAMILY.index(spec)]}")
    return conda_spec.parse(spec)


def problem(row: Row, root: Path, specs: list[str]) -> CondaProblem:
    cuda = f"{row.cuda}.0" if row.cuda and "." not in row.cuda else row.cuda
    virtual = [*VIRTUAL, ("__glibc", "2.28", "0"), *([("__cuda", cuda, "0")] if cuda else [])]
    names = ("nvidia", "conda-forge", "pytorch") if row.source == "pytorch" else ("conda-forge",)
    return CondaProblem(
        platform="linux-64",
        channels=tuple(
            Channel(name=name, url=f"https://conda.anaconda.org/{name}", mirror=str(root / name))
            for name in names
        ),
        dependencies=(*torch_of(row), *(asked_for(row, spec) for spec in specs)),
        constraints=KNOWN_BAD if row.source == "pytorch" else (),
        virtual_packages=tuple(
            VirtualPackage(name=name, version=version, build=build)
            for name, version, build in virtual
        ),
    )


@cache
def solver() -> RattlerSolver:
    """Keeps the metadata that it has read, for all rows of one worker."""
    nowhere = Path("nowhere")
    return RattlerSolver(
        Settings(
            home=nowhere,
            envs_folder=nowhere,
            prefixes=nowhere,
            package_cache=nowhere,
            cache=nowhere,
            store=nowhere,
            views=nowhere,
        )
    )


def solve(row: Row, root: Path, specs: list[str]) -> CondaSolution | CondaConflict:
    [answer] = solver().solve([problem(row, root, specs)])
    return answer


def chosen(row: Row, template: str) -> list[str]:
    cuda = None
    if row.cuda:
        cuda = CudaVersion.parse(row.cuda if "." in row.cuda else f"{row.cuda}.0")
    return list(
        select(
            TEMPLATES[template],
            torch=row.torch,
            platforms=("linux-64",),
            source=row.source,
            cuda=cuda,
        )
    )


def name_of(spec: str) -> str:
    return conda_spec.parse(spec).name


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_templates_solve(row: Row, shared_channels: Path) -> None:
    """All that the sample has is found together, beside the torch that was asked for."""
    for template in TEMPLATES:
        specs = [
            spec for spec in chosen(row, template) if name_of(spec) not in {*LACKS, *row.lacks}
        ]
        answer = solve(row, shared_channels, specs)
        assert isinstance(answer, CondaSolution), f"{template}: {answer.explanation}"
        found = {package.name: package for package in answer.packages}
        assert {name_of(spec) for spec in specs} <= found.keys()
        assert found["pytorch"].version == row.torch
        accelerator = row.cuda.replace(".", "") if row.cuda else "cpu"
        assert accelerator in found["pytorch"].build.replace(".", "")


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_what_the_sample_lacks_is_still_lacking(row: Row, shared_channels: Path) -> None:
    """Each exception above is needed: a package that solves after all must be tested."""
    specs = {
        name_of(spec): spec
        for template in TEMPLATES
        for spec in chosen(row, template)
        if name_of(spec) in {*LACKS, *row.lacks}
    }
    unused = {*row.lacks} - specs.keys()
    assert not unused, f"no template of {row} has {unused}"
    needed = {
        name: [*(item for item in ("torchvision",) if name == "timm" and item not in row.lacks)]
        for name in specs
    }
    solved = {
        name
        for name, spec in specs.items()
        if isinstance(solve(row, shared_channels, [*needed[name], spec]), CondaSolution)
    }
    assert not solved
