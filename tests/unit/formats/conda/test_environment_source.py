"""environment.yml of anybody."""

from __future__ import annotations

import pytest

from envforge.errors import InvalidFile
from envforge.formats.conda import environment_source
from envforge.formats.conda.conda_spec import format_dependency
from envforge.model.imported import ImportedEnvironment

TEXT = """\
name: null
channels: [pytorch, 'https://user:word@repo.example/own', defaults]
dependencies:
  - python=3.10
  - pytorch::pytorch=2.0.1=py3.10_cuda11.8_cudnn8.7.0_0
  - conda-forge/linux-64::scipy
  - numpy  # [linux]
  - numpy<2
  - cudatoolkit =11.8
  - pip
  - pip:
    - -r requirements.txt
    - --extra-index-url https://download.pytorch.org/whl/cu118
    - -e .
    - torchmetrics
    - git+https://git.example/foo/bar.git
    - https://files.example/torch-2.1.0%2Bcu118-cp310-cp310-linux_x86_64.whl
  - npm:
    - left-pad
variables:
  A: 1
hooks: {x: y}
prefix: /home/somebody/env
"""


def read(text: str) -> ImportedEnvironment:
    return environment_source.read_source(text, "environment.yml")[0]


def test_all_that_conda_takes_is_read() -> None:
    environment = read(TEXT)

    assert list(map(format_dependency, environment.dependencies)) == [
        "python=3.10",
        "pytorch::pytorch=2.0.1=py3.10_cuda11.8_cudnn8.7.0_0",
        "conda-forge::scipy",
        "numpy",
        "cudatoolkit=11.8",
        "pip",
        "torchmetrics",
        "torch @ https://files.example/torch-2.1.0%2Bcu118-cp310-cp310-linux_x86_64.whl",
    ]
    assert environment.name == ""
    assert environment.channels == ("pytorch", "https://user:word@repo.example/own", "defaults")
    assert environment.variables == {"A": "1"}
    assert environment.indexes == ("https://download.pytorch.org/whl/cu118",)
    assert environment.local == (".", "bar")


def test_what_is_left_out_is_told_with_its_line() -> None:
    assert set(read(TEXT).notes) == {
        "the selector `[linux]` of `numpy` (line 7): it counts for all platforms now",
        "a second line for `numpy` (line 8)",
        "`-r requirements.txt` (line 12) was not followed",
        "the section `npm:` (line 19)",
        "`hooks` (line 22)",
    }


def test_from_history_and_full_exports_are_read() -> None:
    environment = read(
        "name: x\nchannels:\n  - defaults\ndependencies:\n  - python=3.9\n  - numpy\n"
    )

    assert (environment.name, environment.platforms) == ("x", ())
    assert [item.version for item in environment.dependencies] == ["=3.9", ""]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: [", "line 1, column 5: expected the node content"),
        ("dependencies: 3\n", "line 1, column 15: `dependencies` is the number `3`"),
        ("name: x\n", "line 1, column 1: `dependencies` is missing"),
        ("dependencies:\n  - numpy==\n", "line 2, column 5: package spec `numpy==`"),
        ("dependencies:\n  - [x]\n", "line 2, column 5: a dependency is a list"),
        ("dependencies:\n  - pip: [foo=1]\n", "line 2, column 11: requirement `foo=1`"),
        ("dependencies:\n  - pip: [[x]]\n", "line 2, column 11: a requirement is a list"),
        ("dependencies: []\nchannels: [{a: b}]\n", "an item of `channels` is a mapping"),
        ("dependencies: []\nvariables: {A: [1]}\n", "`A` is a list"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, mistake: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        read(text)

    assert mistake in str(caught.value)


def test_empty_parts_are_nothing() -> None:
    environment = read("name: x\nchannels:\ndependencies:\n  - pip:\nvariables: null\n")

    assert environment.dependencies == ()
    assert environment.channels == ()
