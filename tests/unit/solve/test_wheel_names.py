"""Conda names and ranges as wheels have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from envforge.errors import InvalidValue
from envforge.model.spec import Dependency
from envforge.solve.wheel_names import (
    NO_WHEEL,
    RENAMED,
    SPLIT,
    wheel_name,
    wheel_requirement,
    wheel_version,
)


@pytest.mark.parametrize(
    ("conda", "wheel"),
    [
        ("pytorch", "torch"),
        ("msgpack-python", "msgpack"),
        ("opencv", "opencv-python-headless"),
        ("matplotlib-base", "matplotlib"),
        ("huggingface_hub", "huggingface-hub"),
        ("ruamel.yaml", "ruamel-yaml"),
        ("sentencepiece", "sentencepiece"),
        ("pytorch_geometric", "torch-geometric"),
    ],
)
def test_names_are_translated(conda: str, wheel: str) -> None:
    assert wheel_name(conda) == wheel


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("cudatoolkit", "--cuda"),
        ("pytorch-cuda", "--cuda"),
        ("gcc_linux-64", "compilers"),
        ("ffmpeg", "program"),
        ("graphviz", "python-graphviz"),
        ("libfoo-dev", "C libraries"),
    ],
)
def test_what_has_no_wheel_says_what_to_do(name: str, remedy: str) -> None:
    with pytest.raises(InvalidValue, match="has no wheel") as caught:
        wheel_name(name)

    assert caught.value.value == name
    assert remedy in (caught.value.hint or "")


def test_the_tables_agree_with_each_other() -> None:
    """Keys are normalised, no name is both renamed and refused, no new name is refused."""
    tables = [set(RENAMED), set(SPLIT), set(NO_WHEEL)]

    assert all(name == canonicalize_name(name) for table in tables for name in table)
    assert sum(len(table) for table in tables) == len(set().union(*tables))
    assert all(len(reason) > 20 for reason in NO_WHEEL.values())


@pytest.mark.parametrize(
    ("conda", "wheel"),
    [
        ("", ""),
        ("*", ""),
        ("=1.26", "==1.26.*"),
        ("1.26.*", "==1.26.*"),
        ("=1.26.*", "==1.26.*"),
        ("==1.26.4", "==1.26.4"),
        ("1.26.4", "==1.26.4"),
        (">=4.40,<5", ">=4.40,<5"),
        (">=1.8.*", ">=1.8"),
        ("!=1.5.*", "!=1.5.*"),
        (">= 4.40 , < 5", ">=4.40,<5"),
        ("~=1.4.2", "~=1.4.2"),
        ("*,>=3", ">=3"),
    ],
)
def test_ranges_are_translated(conda: str, wheel: str) -> None:
    assert wheel_version(conda) == wheel


@pytest.mark.parametrize("conda", ["1.2|1.3", "^1.2$", "=2023c", ">=", "a b", "1.2 py3*"])
def test_what_cannot_be_said_is_refused(conda: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        wheel_version(conda)

    assert "write one range" in (caught.value.hint or "")


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4))
def test_a_fuzzy_version_holds_itself_and_its_patches(numbers: list[int]) -> None:
    version = ".".join(map(str, numbers))
    specifiers = SpecifierSet(wheel_version(f"={version}"))

    assert version in specifiers
    assert f"{version}.7" in specifiers
    assert f"{numbers[0] + 1}" not in specifiers


def test_a_requirement_is_pep_508() -> None:
    told = wheel_requirement(
        Dependency(name="ray-default", version=">=2.9,<3", extras=("tune", "rllib"))
    )

    assert told == "ray[tune,rllib]>=2.9,<3"
    assert Requirement(told).extras == {"tune", "rllib"}


@pytest.mark.parametrize("field", ["channel", "build"])
def test_conda_channels_and_builds_have_no_meaning_here(field: str) -> None:
    with pytest.raises(InvalidValue, match="conda build"):
        wheel_requirement(Dependency(name="numpy", **{field: "x"}))  # type: ignore[arg-type]
