"""A lock as lines."""

from __future__ import annotations

from dataclasses import replace

from fakes.conda_solver import package
from fakes.locks import lock, torch_target, wheel

from envforge.model.lock import UNSOLVED
from envforge.team.lock_text import lines

TARGET = torch_target(architectures=("9.0",))


def test_what_it_is_for_then_a_line_a_package() -> None:
    numpy = package("numpy", "1.26.4")
    found = list(lines(lock(numpy, wheel("x", "1"), target=TARGET, inputs_digest="a" * 64)))
    assert found == [
        "torch 2.0.1 (CUDA 11.8)",
        "cuDNN 8.7.0",
        "driver 450.80.02 or newer",
        "GPUs 9.0",
        "python 3.10",
        "source pytorch",
        "platforms linux-64",
        "channels conda-forge",
        "locked from aaaaaaaaaaaa",
        "",
        "== linux-64",
        f"numpy 1.26.4 h0_0 conda-forge {numpy.sha256[:12]}",
        f"x 1 pip https://files.pythonhosted.org {wheel('x', '1').sha256[:12]}",
    ]


def test_other_bytes_are_another_line() -> None:
    one = package("a", "1")
    assert list(lines(lock(one))) != list(lines(lock(replace(one, sha256="f" * 64))))


def test_a_lock_that_was_never_solved_says_so() -> None:
    assert "not solved: why" in list(lines(lock(package("a", "1"), metadata={UNSOLVED: "why"})))
