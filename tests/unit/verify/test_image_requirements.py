"""The language in which images ask for a driver."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.verify.image_requirements import Offer, brand, requirements, unmet

A100 = Offer(cuda="12.4", driver="550.54.15", arch="8.0", name="NVIDIA A100-SXM4-80GB")
GEFORCE = Offer(cuda="12.4", driver="550.54.15", arch="8.9", name="NVIDIA GeForce RTX 4090")


@pytest.mark.parametrize(
    ("expression", "failed"),
    [
        ("cuda>=12.4", ()),
        ("cuda>=12.5", ("cuda>=12.5",)),
        ("cuda>12.4", ("cuda>12.4",)),
        ("cuda=12.4", ()),
        ("cuda!=12.4", ("cuda!=12.4",)),
        ("cuda<=12", ("cuda<=12",)),
        ("cuda<13", ()),
        ("driver>=550,driver<551", ()),
        ("driver>=550.54.15", ()),
        ("driver>=550.90", ("driver>=550.90",)),
        ("arch>=8.0,cuda>=12.5 arch>=7.0", ()),
        ("cuda>=13.0 brand=nvidia,driver>=550,driver<551", ()),
        ("cuda>=13.0 brand=geforce,driver>=550,driver<551", ("cuda>=13.0",)),
        ("BRAND=NVIDIA", ()),
        ("colour=blue", ()),
        ("cuda", ()),
        (",", ()),
        ("", ()),
    ],
)
def test_conditions(expression: str, failed: tuple[str, ...]) -> None:
    """A comma is and, a blank is or; what nobody knows is met."""
    assert unmet(expression, [A100]) == failed


def test_every_gpu_must_meet_it() -> None:
    asked = "cuda>=13.0 brand=nvidia,driver>=550,driver<551"
    assert unmet(asked, [A100, GEFORCE]) == ("cuda>=13.0",)


def test_what_is_not_known_is_not_held_against_it() -> None:
    assert unmet("cuda>=13.0,brand=tesla,arch>=9.0,driver>=600", [Offer()]) == ()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("NVIDIA GeForce RTX 3090", "geforce"),
        ("Tesla V100-SXM2-16GB", "tesla"),
        ("Quadro RTX 6000", "quadrortx"),
        ("Quadro P4000", "quadro"),
        ("NVIDIA RTX A6000", "nvidiartx"),
        ("NVIDIA TITAN V", "titan"),
        ("GRID A100D-16C", "grid"),
        ("NVIDIA H100 80GB HBM3", "nvidia"),
    ],
)
def test_brands(name: str, told: str) -> None:
    assert brand(name) == told


def test_every_variable_of_the_kind_counts_until_it_is_turned_off() -> None:
    variables = {"NVIDIA_REQUIRE_CUDA": "cuda>=12", "NVIDIA_REQUIRE_X": " ", "PATH": "/bin"}
    assert requirements(variables) == {"NVIDIA_REQUIRE_CUDA": "cuda>=12"}
    assert requirements({**variables, "NVIDIA_DISABLE_REQUIRE": "1"}) == {}
    assert requirements({**variables, "NVIDIA_DISABLE_REQUIRE": "false"}) != {}


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert isinstance(unmet(text, [A100]), tuple)
