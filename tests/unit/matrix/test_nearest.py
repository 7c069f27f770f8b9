"""Commands to copy."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest

from envforge.errors import NoMatchingBuild
from envforge.matrix import Matrix, choose
from envforge.matrix.nearest import Wish, command_line, nearest
from envforge.model.machine import Machine
from envforge.model.spec import Request

Ask = Callable[..., Request]


def test_a_command_keeps_everything_that_was_asked(request_for: Ask) -> None:
    request = request_for(
        "2.0.1",
        "11.8",
        python="3.10",
        packages=("transformers>=4.40", "a b"),
        template="nlp",
        source="wheels",
        channels=("my-channel",),
        platforms=("linux-64", "win-64"),
        wheel_index="site",
    )
    line = command_line(request, None)
    assert line == (
        "envforge create nlp-bert --torch 2.0.1 --cuda 11.8 --python 3.10"
        " --with 'transformers>=4.40' --with 'a b' --template nlp --source wheels"
        " --channel my-channel --platform linux-64 --platform win-64 --wheel-index site"
    )


def test_only_a_described_machine_is_described_again(
    request_for: Ask, machine: Callable[..., Machine]
) -> None:
    request = request_for("2.0.1", "cpu")
    described = machine("535.104.05", "RTX 4090")
    assert command_line(request, described, "lock") == (
        "envforge lock nlp-bert --torch 2.0.1 --cuda cpu"
        " --driver 535.104.05 --gpu 'GeForce RTX 4090'"
    )
    live = Machine(driver=described.driver, gpus=described.gpus)
    assert "--driver" not in command_line(request, live)
    assert "--driver" not in command_line(request, machine(None, "T4"))


def test_a_gpu_named_by_its_capability_can_be_named_again(
    matrix: Matrix, request_for: Ask, machine: Callable[..., Machine]
) -> None:
    line = command_line(request_for("2.0.1", "cpu"), machine(None, "sm_90"))
    [name] = shlex.split(line)[-1:]
    assert machine(None, name).gpus == machine(None, "sm_90").gpus


def test_at_most_two_of_a_kind_and_the_nearest_first(matrix: Matrix, request_for: Ask) -> None:
    found = nearest(Wish(request=request_for("2.0.1", "12.4"), machine=None), matrix)
    assert [line.removeprefix("envforge create nlp-bert ") for line in found] == [
        "--torch 2.4.1 --cuda 12.4",
        "--torch 2.5.1 --cuda 12.4",
        "--torch 2.0.1 --cuda 11.8",
        "--torch 2.0.1 --cuda 11.7",
    ]


def test_known_trouble_is_not_suggested(matrix: Matrix, request_for: Ask) -> None:
    request = request_for("2.0.1", "11.8", python="3.12")
    found = nearest(Wish(request=request, machine=None), matrix)
    assert not any("--torch 2.1" in line and "3.12" in line for line in found)
    assert not any("--torch 2.0.1" in line and "3.11" in line for line in found)


def test_shell_metacharacters_are_quoted(matrix: Matrix) -> None:
    request = Request(project="x", torch="9.9", cuda=None, packages=("$(id)",))
    with pytest.raises(NoMatchingBuild) as caught:
        choose(request, None, matrix=matrix)
    assert all("'$(id)'" in line for line in caught.value.nearest)
