"""pixi.toml and `[tool.pixi]`: what each environment asks for."""

from __future__ import annotations

import pytest

from envforge.errors import InvalidFile
from envforge.formats.conda.conda_spec import format_dependency
from envforge.formats.pixi import pixi_toml

TEXT = """\
[workspace]
name = "x"
channels = ["nvidia", {channel = "https://conda.anaconda.org/pytorch/", priority = 1}]
platforms = ["linux-64", {platform = "osx-arm64"}]

[activation]
env = {A = "1", B = 2}
scripts = ["setup.sh"]

[dependencies]
python = "3.10.*"
numpy = ">=1.2, <2"
scipy = "1.11.4"
anything = "*"
pytorch = {version = "2.0.1", build = "*cuda11.8*", channel = "pytorch"}
source-built = {path = "."}

[pypi-dependencies]
own = {path = ".", editable = true}
torchmetrics = "*"
requests = {version = ">=2", extras = ["socks"], env-markers = "sys_platform == 'linux'"}
wheel-there = {url = "https://files.example/wheel_there-1-py3-none-any.whl"}

[pypi-options]
extra-index-urls = ["https://download.pytorch.org/whl/cu118"]
no-build-isolation = ["x"]

[feature.gpu]
platforms = ["linux-64"]
channels = ["conda-forge"]
[feature.gpu.dependencies]
cuda-version = "12.1"
numpy = "1.26.4"
[feature.gpu.system-requirements]
cuda = "12"
[feature.gpu.activation.env]
A = "gpu"
[target.linux-64.dependencies]
gcc = "*"
[target.win-64.activation.env]
C = "3"
[tasks]
test = "pytest"
[environments]
gpu = ["gpu"]
alone = {features = ["gpu"], no-default-feature = true}
"""


def lines(text: str, name: str) -> list[str]:
    environments = {item.name: item for item in pixi_toml.read_source(text, "pixi.toml")}
    return [format_dependency(item) for item in environments[name].dependencies]


def test_the_default_environment_holds_the_top_tables() -> None:
    default = pixi_toml.read_source(TEXT, "pixi.toml")[0]

    assert lines(TEXT, "default") == [
        "python 3.10.*",
        "numpy>=1.2,<2",
        "scipy==1.11.4",
        "anything",
        "pytorch::pytorch==2.0.1=*cuda11.8*",
        "torchmetrics",
        "requests[socks]>=2; sys_platform == 'linux'",
        "wheel-there @ https://files.example/wheel_there-1-py3-none-any.whl",
    ]
    assert default.channels == ("nvidia", "https://conda.anaconda.org/pytorch")
    assert default.platforms == ("linux-64", "osx-arm64")
    assert default.indexes == ("https://download.pytorch.org/whl/cu118",)
    assert default.variables == {"A": "1", "B": "2"}
    assert default.local == ("source-built", "own")
    assert default.notes == (
        "for linux-64 only: gcc",
        "variables for win-64 only: C",
        "`pypi-options.no-build-isolation`",
        "activation scripts setup.sh",
        "the tasks test",
    )


def test_a_feature_comes_first_and_the_default_one_adds_to_it() -> None:
    _, gpu, alone = pixi_toml.read_source(TEXT, "pixi.toml")

    assert lines(TEXT, "gpu")[:3] == ["cuda-version==12.1", "numpy==1.26.4", "python 3.10.*"]
    assert gpu.platforms == ("linux-64",)
    assert gpu.channels[0] == "conda-forge"
    assert gpu.variables["A"] == "gpu"
    assert lines(TEXT, "alone") == ["cuda-version==12.1", "numpy==1.26.4"]
    assert "`system-requirements.cuda = 12`" in alone.notes


def test_pyproject_adds_what_the_project_itself_needs() -> None:
    text = """\
[project]
name = "x"
requires-python = ">=3.10"
dependencies = ["torch==2.1.0", "rich"]
[tool.pixi.workspace]
channels = ["conda-forge"]
platforms = ["linux-64"]
[tool.pixi.dependencies]
numpy = "*"
"""
    assert lines(text, "default") == ["numpy", "python>=3.10", "torch==2.1.0", "rich"]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[workspace]\nchannels = [\n", "line 3: invalid value"),
        ("[workspace]\nx = 1 2\n", "line 2, column 7: expected newline"),
        ("[package]\nname = 'x'\n", "no `[workspace]` and no `[project]`"),
        (
            "[workspace]\nname='x'\n[dependencies]\nnumpy = '=>2'\n",
            "line 4: package spec `numpy=>2`",
        ),
        ("[workspace]\nname='x'\n[pypi-dependencies]\nnumpy = '=2'\n", "line 4: requirement"),
        (
            "[workspace]\nname='x'\n[environments]\ngpu = ['no']\n",
            "line 4: environment `gpu` names",
        ),
        ("[workspace]\nname='x'\n[environments]\ngpu = 3\n", "`gpu` is no list of features"),
        ("environments = 3\n[workspace]\nname='x'\n", "line 1: `environments` is no table"),
        (
            "[tool.pixi.workspace]\nname='x'\n[project]\ndependencies=['a b']\n",
            "line 4:",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, mistake: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        pixi_toml.read_source(text, "pixi.toml")

    assert mistake in str(caught.value)
