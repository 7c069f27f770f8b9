"""Names of projects and environments, and what an environment.yml holds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.errors import InvalidValue
from envforge.model.cuda import CudaVersion
from envforge.model.spec import (
    Dependency,
    EnvironmentSpec,
    check_project_name,
    environment_name,
)


@pytest.mark.parametrize("name", ["x", "nlp-bert", "0", "a.b_c-d", "a" * 64])
def test_good_project_names(name: str) -> None:
    assert check_project_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        ("", "is empty", "nlp-bert"),
        ("a" * 65, "65 characters", "a" * 64),
        ("../x", "starts with '.'", "`x`"),
        ("-x", "starts with '-'", "`x`"),
        ("Nlp", "starts with 'N'", "`nlp`"),
        ("a b", "holds ' '", "`a-b`"),
        ("a\n", r"holds '\n'", "`a`"),
        ("$(id)", "starts with '$'", "`id`"),
        ("a/../b", "holds '/'", "`a-..-b`"),
        ("é", "starts with 'é'", "nlp-bert"),
    ],
)
def test_bad_project_names_say_why(name: str, reason: str, remedy: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_project_name(name)
    assert reason in str(caught.value)
    assert remedy in str(caught.value.hint)


@given(st.text(max_size=80))
def test_a_suggestion_is_a_good_name(name: str) -> None:
    try:
        assert check_project_name(name) == name
    except InvalidValue as error:
        [suggested] = re.findall(r"`(.+)`", str(error.hint))
        assert check_project_name(suggested) == suggested


@pytest.mark.parametrize(
    ("torch", "cuda", "expected"),
    [
        ("2.0.1", CudaVersion(11, 8), "x-torch20-cu118"),
        ("1.13.1", CudaVersion(11, 7), "x-torch113-cu117"),
        ("2.10.0", CudaVersion(12, 9), "x-torch210-cu129"),
        ("2.4.1", None, "x-torch24-cpu"),
    ],
)
def test_environment_names(torch: str, cuda: CudaVersion | None, expected: str) -> None:
    assert environment_name("x", torch, cuda) == expected


def test_dependencies_by_manager_and_by_name() -> None:
    numpy = Dependency(name="numpy", version="<2")
    wheel = Dependency(name="torch", version="==2.13.0", manager="pip")
    spec = EnvironmentSpec(
        name="x",
        channels=("conda-forge", "nodefaults"),
        dependencies=(numpy, wheel),
        platforms=("linux-64",),
    )
    assert spec.conda() == (numpy,)
    assert spec.pip() == (wheel,)
    assert spec.find("torch") is wheel
    assert spec.find("scipy") is None
