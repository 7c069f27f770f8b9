"""Dockerfiles: what their last stage installs."""

from __future__ import annotations

import pytest

from envforge.errors import InvalidFile
from envforge.formats.conda.conda_spec import format_dependency
from envforge.formats.images import dockerfile
from envforge.model.imported import ImportedEnvironment

TEXT = """\
# syntax=docker/dockerfile:1
ARG CUDA=11.8
FROM nvidia/cuda:${CUDA}.0-cudnn8-runtime AS base
ARG CUDA
ENV TORCH=2.1.0 X="a b"
ENV OLD form
RUN --mount=type=cache,target=/cache --network=default apt-get update && \\
    # a comment inside
    pip install --no-cache-dir torch==${TORCH} torchvision \\
        --index-url https://download.pytorch.org/whl/cu118 \\
    && PIP_X=1 pip3 install -U pip -r requirements.txt "numpy<2" ./local $(cat x)
FROM python:3.11 as builder
RUN pip install build
FROM base
RUN ["conda", "install", "-y", "-c", "pytorch", "--channel=nvidia", "-n", "x", "pytorch-cuda=11.8"]
RUN micromamba -y install -n base -c conda-forge 'scipy>=1' && conda run -n foo uv pip install pandas
RUN bash -lc "mamba install --file spec.txt fastai::fastai" ; python -m pip install -e . git+https://git.example/a/b
RUN <<EOF
set -e
sudo uv add accelerate==0.20
EOF
RUN conda config --add channels own && uv sync && conda env create -f env.yml && conda list
RUN pip install dist/*.whl own.tar.gz && conda install ./x-1-0.conda ${UNKNOWN} && pip download y
RUN uv pip install --torch-backend cu121 'z[a]==1' && uv pip install --torch-backend=auto "w${V:-==2}"
CMD ["pip", "install", "nope"]
"""  # noqa: E501 - a Dockerfile's lines


def read(text: str) -> ImportedEnvironment:
    return dockerfile.read_source(text, "Dockerfile")[0]


def test_every_way_to_install_is_read() -> None:
    environment = read(TEXT)

    assert list(map(format_dependency, environment.dependencies)) == [
        "torch==2.1.0",
        "torchvision",
        "numpy<2",
        "pytorch-cuda=11.8",
        "scipy>=1",
        "pandas",
        "fastai::fastai",
        "accelerate==0.20",
        "z[a]==1",
        "w==2",
    ]
    assert environment.channels == ("own", "pytorch", "nvidia", "conda-forge")
    assert environment.indexes == (
        "https://download.pytorch.org/whl/cu118",
        "https://download.pytorch.org/whl/cu121",
    )
    assert environment.local == ("local", ".", "b", "dist/*.whl", "own.tar.gz")


def test_what_cannot_be_told_is_said_with_its_line() -> None:
    assert read(TEXT).notes == (
        "`-r requirements.txt` (line 7) was not followed",
        "`$(…)` (line 7): its value is not known here",
        "`--file spec.txt` (line 17) was not followed",
        "`uv sync` (line 22): read its own file instead",
        "`env create -f env.yml` (line 22): read its own file instead",
        "the file `./x-1-0.conda` (line 23)",
        "`${UNKNOWN}` (line 23): its value is not known here",
        "stage `builder` (line 12), which the last is not built on",
        "the base image `nvidia/cuda:11.8.0-cudnn8-runtime` (CUDA 11.8)",
    )


def test_pytorchs_own_image_brings_torch() -> None:
    image = "pytorch/pytorch:2.0.1-cuda11.7-cudnn8-runtime"
    environment = read(f"FROM --platform=linux/amd64 {image}\nRUN pip install transformers\n")

    assert [format_dependency(item) for item in environment.dependencies] == [
        "transformers",
        "torch==2.0.1+cu117",
    ]
    assert environment.notes == (f"the base image `{image}`, but for its torch",)


def test_a_torch_that_is_installed_counts_more_than_the_images() -> None:
    environment = read("FROM pytorch/pytorch:2.0.1\nRUN pip install torch==2.1.0\n")

    assert [item.version for item in environment.dependencies] == ["==2.1.0"]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("RUN pip install x\n", "it has no `FROM`"),
        (
            "FROM x\n\nRUN a && \\\n  pip install 'torch=2'\n",
            "line 3: requirement `torch=2` has one",
        ),
        ("FROM x\nRUN conda install 'numpy=>2'\n", "line 2: package spec `numpy=>2`"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, mistake: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        read(text)

    assert mistake in str(caught.value)


def test_lines_that_no_shell_could_read_say_nothing() -> None:
    environment = read(
        "FROM x\nENV 'a\nRUN echo 'open\nRUN bash -c\nRUN bash script.sh\nnonsense\n"
    )

    assert environment.dependencies == ()


def test_variables_that_double_each_other_have_an_end() -> None:
    text = "FROM x\nARG A=12345678\n" + "ARG A=$A$A\n" * 60 + "RUN pip install torch==2.0.1 $A\n"
    [environment] = dockerfile.read_source(text, "Dockerfile")
    assert environment.dependencies[0].name == "torch"


def test_ten_megabytes_are_no_dockerfile() -> None:
    text = "FROM x\nRUN pip install" + " torch" * 2_000_000
    with pytest.raises(InvalidFile, match="which no Dockerfile does"):
        dockerfile.read_source(text, "Dockerfile")
