"""Which packages take part; and the templates that travel with envforge keep their rules."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from envforge.formats import template_yml
from envforge.formats.conda import conda_spec
from envforge.matrix import reading
from envforge.model.cuda import CudaVersion
from envforge.model.spec import SOURCES
from envforge.model.template import Template, TemplatePackage
from envforge.solve.templates import left_out, select

ENVIRONMENTS = Path(__file__).parents[3] / "templates" / "environments"
SHIPPED = {
    path.stem: template_yml.read(path.read_text(encoding="utf-8"), str(path))
    for path in sorted(ENVIRONMENTS.glob("*.yml"))
}
RELEASES = tuple(release.torch for release in reading.load().releases)
CUDA_118 = CudaVersion(11, 8)


def template(*packages: TemplatePackage) -> Template:
    return Template(name="x", description="x", packages=packages)


def test_the_row_for_this_torch_is_chosen() -> None:
    """Ranges are PEP 440: 2.10 is newer than 2.9."""
    both = template(
        TemplatePackage(spec="timm <1", torch="<2.9"),
        TemplatePackage(spec="timm >=1", torch=">=2.9"),
    )
    newer = select(both, torch="2.10.0", platforms=("linux-64",), source="wheels", cuda=None)
    older = select(both, torch="2.0.1", platforms=("linux-64",), source="wheels", cuda=None)
    assert (older, newer) == (("timm <1",), ("timm >=1",))


def test_a_package_takes_part_where_all_platforms_have_it() -> None:
    """environment.yml is one list: what one platform lacks, none gets, and it is named."""
    some = template(
        TemplatePackage(spec="numpy"),
        TemplatePackage(spec="bitsandbytes >=0.46", platforms=("linux-64", "linux-aarch64")),
    )
    one = select(some, torch="2.6.0", platforms=("linux-64",), source="wheels", cuda=None)
    two = select(some, torch="2.6.0", platforms=("linux-64", "win-64"), source="wheels", cuda=None)
    assert one == ("numpy", "bitsandbytes >=0.46")
    assert two == ("numpy",)
    assert left_out(
        some, torch="2.6.0", platforms=("linux-64", "win-64"), source="wheels", cuda=None
    ) == ("bitsandbytes",)


def test_cuda_and_cpu_builds_may_differ() -> None:
    """`cuda: true` wants a CUDA build, `cuda: false` a CPU build."""
    either = template(
        TemplatePackage(spec="bitsandbytes", cuda=True),
        TemplatePackage(spec="optimum", cuda=False),
    )
    on_gpu = select(either, torch="2.6.0", platforms=("linux-64",), source="wheels", cuda=CUDA_118)
    on_cpu = select(either, torch="2.6.0", platforms=("linux-64",), source="wheels", cuda=None)
    assert (on_gpu, on_cpu) == (("bitsandbytes",), ("optimum",))


def test_another_name_for_another_source_is_not_left_out() -> None:
    """A row that is not for this source is no loss; a row whose torch is too old is one."""
    renamed = template(
        TemplatePackage(spec="pysoundfile", sources=("conda-forge", "pytorch")),
        TemplatePackage(spec="soundfile", sources=("wheels",)),
        TemplatePackage(spec="trl", torch=">=2.6"),
    )
    chosen = {
        "torch": "2.0.1",
        "platforms": ("linux-64",),
        "source": "wheels",
        "cuda": None,
    }
    assert select(renamed, **chosen) == ("soundfile",)  # type: ignore[arg-type]
    assert left_out(renamed, **chosen) == ("trl",)  # type: ignore[arg-type]


def test_the_shipped_templates_are_those_the_readme_names() -> None:
    """Each file is in the table of templates/README.md, and the other way round."""
    readme = (ENVIRONMENTS.parent / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z-]+)` \|", readme, re.MULTILINE)) == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_no_package_comes_twice(name: str) -> None:
    """For every torch ever released, source and accelerator, each package has one row at most."""
    for torch in RELEASES:
        for source in SOURCES:
            for cuda in (None, CUDA_118):
                specs = select(
                    SHIPPED[name], torch=torch, platforms=("linux-64",), source=source, cuda=cuda
                )
                names = [conda_spec.parse(spec).name for spec in specs]
                assert len(names) == len(set(names)), (torch, source, cuda, names)


def test_templates_agree_about_a_package() -> None:
    """The ranges of transformers stand in five files: for no torch may two of them differ."""
    for torch in RELEASES:
        ranges: dict[str, set[str]] = {}
        for shipped in SHIPPED.values():
            for spec in select(
                shipped, torch=torch, platforms=("linux-64",), source="wheels", cuda=CUDA_118
            ):
                ranges.setdefault(conda_spec.parse(spec).name, set()).add(spec)
        assert not {name: specs for name, specs in ranges.items() if len(specs) > 1}


@pytest.mark.parametrize("name", SHIPPED)
def test_ranges_have_no_holes(name: str) -> None:
    """Between the oldest and the newest torch that a package takes part with, it always does."""
    rows: dict[str, list[bool]] = {}
    for torch in RELEASES:
        chosen = select(
            SHIPPED[name], torch=torch, platforms=("linux-64",), source="wheels", cuda=CUDA_118
        )
        there = {conda_spec.parse(spec).name for spec in chosen}
        for item in SHIPPED[name].packages:
            package = conda_spec.parse(item.spec).name
            if not item.sources or "wheels" in item.sources:
                rows.setdefault(package, []).append(package in there)
    for package, takes_part in rows.items():
        changes = sum(before != after for before, after in pairwise(takes_part))
        assert changes <= 1, package
