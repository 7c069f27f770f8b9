"""Templates are read strictly: every mistake at once, each with its place."""

from __future__ import annotations

import pytest

from envforge.errors import InvalidFile
from envforge.formats import template_yml
from envforge.model.template import Template, TemplatePackage


def mistakes(text: str) -> tuple[str, ...]:
    with pytest.raises(InvalidFile) as caught:
        template_yml.read(text, "templates/environments/x.yml")
    assert caught.value.path == "templates/environments/x.yml"
    return caught.value.mistakes


def test_a_whole_template() -> None:
    """Plain specs, conditions of each kind, variables; the name is the file's."""
    text = """\
description: image models
packages:
  - torchvision # a comment
  - spec: bitsandbytes >=0.46
    torch: ">=2.6,<3"
    platforms: [linux-64, win-64]
    sources: [wheels]
    cuda: true
  - {spec: pillow, cuda: false}
variables:
  SOME_FLAG: "1"
"""
    assert template_yml.read(text, "/somewhere/image-models.yml") == Template(
        name="image-models",
        description="image models",
        packages=(
            TemplatePackage(spec="torchvision"),
            TemplatePackage(
                spec="bitsandbytes >=0.46",
                torch=">=2.6,<3",
                platforms=("linux-64", "win-64"),
                sources=("wheels",),
                cuda=True,
            ),
            TemplatePackage(spec="pillow", cuda=False),
        ),
        variables={"SOME_FLAG": "1"},
    )


def test_every_mistake_at_once_in_the_order_of_the_text() -> None:
    """One reading is enough to mend a file."""
    found = mistakes("""\
descripton: x
packages:
  - {spec: a, tocrh: ">=2"}
  - {torch: ">=2"}
  - {spec: b, torch: newer}
  - {spec: c, platforms: [linux64], sources: [conda]}
  - {spec: "d >>1"}
  - 1.5
  - {spec: e, cuda: "true"}
  - {spec: f, cuda: yes}
  - {spec: g, sources: []}
  - [h]
variables:
  9LIVES: "1"
  COUNT: 4
""")
    lines = [message.split(",")[0] for message in found]
    assert lines == [f"line {n}" for n in (1, 1, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12, 14, 15)]
    text = "\n".join(found)
    for expected in (
        "`description` is missing",
        "`descripton`: unknown key; did you mean `description`?",
        "`tocrh`: unknown key; did you mean `torch`?",
        "a package without `spec`",
        "`newer` is not a version range such as `>=2.1,<2.4`",
        "`platforms` knows no `linux64`; did you mean `linux-64`?",
        "`sources` knows no `conda`; did you mean `conda-forge`?",
        "`d >>1`",
        "a package is the number `1.5`",
        "`cuda` is the text `true`, and should be `true` or `false`",
        "`cuda` is the YAML value `yes`, and should be `true` or `false`",
        "`sources` is empty; leave it out to mean all",
        "a package is a list",
        "`9LIVES` is no name of an environment variable",
        "write `'4'`",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("packages: [a]\n", "`description` is missing"),
        ("description: x\n", "`packages` is missing"),
        ("description: x\npackages: []\n", "`packages` is empty"),
        ("description: x\npackages: a\n", "`packages` is the text `a`, and should be a list"),
        ("description: 1.5\npackages: [a]\n", "`description` is the number `1.5`"),
        ("- a\n", "the file is a list, and should be `key: value` lines"),
        ("description: x\npackages: [a]\nvariables: [b]\n", "`variables` is a list"),
        ("description: x\npackages: [{spec: a, sources: nowhere}]\n", "`sources` is the text"),
        ("description: x\npackages: [{spec: a, sources: [zzz]}]\n", "one of pytorch, conda-forge"),
        ("description: x\npackages: [{spec: a, torch: [1]}]\n", "`torch` is a list"),
        ("description: [x\n", "line 2, column 1"),
    ],
)
def test_one_mistake(text: str, expected: str) -> None:
    assert expected in "\n".join(mistakes(text))
