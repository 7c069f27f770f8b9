"""What is suggested was tried, and did solve."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from envforge.matrix import reading
from envforge.matrix.choose import choose
from envforge.model.choice import Choice
from envforge.model.cuda import CudaVersion
from envforge.model.spec import Request
from envforge.solve.nearest import LIMIT, find

MATRIX = reading.load()


def request(**changes: Any) -> Request:
    fields: dict[str, Any] = {"project": "p", "torch": "2.5.1", "cuda": CudaVersion(12, 4)}
    return Request(**(fields | changes))


def found(
    asked: Request, solves: Callable[[Request], bool], **changes: Any
) -> tuple[tuple[str, ...], list[Request]]:
    tried: list[Request] = []

    def attempt(candidate: Request, choice: Choice) -> bool:
        assert choice.torch.startswith(candidate.torch)
        tried.append(candidate)
        return solves(candidate)

    fields: dict[str, Any] = {"explanation": "", "clock": lambda: 0.0}
    commands = find(
        asked,
        None,
        choice=choose(asked, None, matrix=MATRIX),
        solves=attempt,
        matrix=MATRIX,
        **(fields | changes),
    )
    return commands, tried


def test_a_misspelt_package_is_spelt() -> None:
    """Nothing else can help before the name is right, so it comes first."""
    asked = request(packages=("numpy", "transfomers>=4"))
    commands, tried = found(
        asked,
        lambda item: item.packages == ("numpy", "transformers>=4"),
        spellings={"transfomers": ("transformers", "transforms3d")},
    )
    assert tried[0].packages == ("numpy", "transformers>=4")
    assert "--with 'transformers>=4'" in commands[0]


def test_a_package_that_cannot_be_guessed_is_left_out() -> None:
    asked = request(packages=("numpy", "zzzzz"))
    commands, _ = found(asked, lambda item: item.packages == ("numpy",), spellings={"zzzzz": ()})
    assert commands == ("envforge create p --torch 2.5.1 --cuda 12.4 --with numpy",)


def test_a_package_is_loosened_before_it_is_left_out() -> None:
    """The one that the reasons name goes first."""
    asked = request(packages=("pandas=1.5", "numpy=1.20"))
    commands, tried = found(
        asked, lambda item: "numpy=1.20" not in item.packages, explanation="numpy 1.20 needs"
    )
    assert tried[0].packages == ("pandas=1.5", "numpy")
    assert commands[0].endswith("--with pandas=1.5 --with numpy")


def test_other_pythons_cudas_and_torches() -> None:
    """Each nearest first, and only what exists."""
    asked = request(python="3.12")
    _, tried = found(asked, lambda _: False)
    assert len(tried) == LIMIT
    assert {item.python for item in tried} >= {"3.11", "3.12", "3.13"}
    assert {str(item.cuda) for item in tried} >= {"12.1", "12.6"}
    assert "2.5.0" in {item.torch for item in tried}


def test_three_are_enough() -> None:
    commands, tried = found(request(python="3.12"), lambda _: True)
    assert (len(commands), len(tried)) == (3, 3)


def test_time_is_bounded() -> None:
    clock = count(0, 3)
    _, tried = found(request(), lambda _: False, clock=lambda: float(next(clock)))
    assert 0 < len(tried) < LIMIT


def test_a_source_and_a_template_may_be_what_is_in_the_way() -> None:
    asked = request(source="pytorch", template="nlp", torch="2.5.1", cuda=None)
    _, tried = found(asked, lambda _: False)
    assert any(item.template is None for item in tried)
    assert any(item.source == "auto" for item in tried)


def test_the_hosts_python_is_tried_nowhere_else() -> None:
    """A suggestion that changes the interpreter would not be one."""
    asked = request(python="host", source="wheels", torch="2.7.1", cuda=None)
    choice = choose(asked, None, matrix=MATRIX, host_python="3.11.7")
    commands = find(
        asked, None, choice=choice, explanation="", solves=lambda *_: True, matrix=MATRIX
    )
    assert commands == ()


def test_the_command_asked_for() -> None:
    commands, _ = found(request(), lambda _: True, command="lock")
    assert all(item.startswith("envforge lock p ") for item in commands)
