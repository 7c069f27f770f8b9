"""`run` and `activate`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from fakes.workplace import NAME, fake_forge, make_environment, workplace_of

from envforge.adapters.users import folder_of
from envforge.errors import BrokenPrefix, InvalidValue, NoSuchEnvironment, ToolMissing
from envforge.forge import Forge
from envforge.forge.caching.activating import view_path
from envforge.forge.workplace import Workplace


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """With one installed environment, that has `python` and `torchrun`."""
    forge = fake_forge(tmp_path, environment={"HOME": str(tmp_path / "home"), "PATH": "/usr/bin"})
    make_environment(forge)
    prefix = forge.install("p").prefix
    for name in ("python", "torchrun"):
        program = prefix / "bin" / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return forge


class Became(Exception):
    """The process is another one now."""

    def __init__(self, program: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.program, self.command, self.env = program, command, env


@pytest.fixture
def exec_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system's call says what it was given instead of ending the test."""

    def execve(program: str, command: Sequence[str], env: Mapping[str, str]) -> NoReturn:
        raise Became(program, command, env)

    monkeypatch.setattr(os, "execve", execve)


@pytest.mark.usefixtures("exec_is_told")
def test_the_models_of_an_environment_are_found_with_a_prefix_too(forge: Forge) -> None:
    """`nlp` is `nlp-torch27-cu126`, whether or not we are told where it is installed."""
    view = view_path(Workplace(settings=forge.settings), "env", folder_of(os.geteuid()), NAME)
    view.mkdir(parents=True)

    for prefix in (None, forge.settings.prefixes / NAME):
        with pytest.raises(Became) as caught:
            forge.run("p", ("torchrun",), prefix=prefix)
        assert caught.value.env["HF_HUB_CACHE"] == str(view)


@pytest.mark.usefixtures("exec_is_told")
def test_a_command_takes_our_place(forge: Forge) -> None:
    prefix = forge.settings.prefixes / NAME
    with pytest.raises(Became) as caught:
        forge.run("p", ("torchrun", "--nproc", "8"))

    assert caught.value.program == str(prefix / "bin" / "torchrun")
    assert caught.value.command == ["torchrun", "--nproc", "8"]
    assert caught.value.env["PATH"] == f"{prefix}/bin:/usr/bin"
    assert caught.value.env["CONDA_PREFIX"] == str(prefix)


@pytest.mark.usefixtures("exec_is_told")
def test_programs_of_the_machine_are_found_too(forge: Forge) -> None:
    with pytest.raises(Became) as caught:
        forge.run("p", (sys.executable, "-V"))

    assert caught.value.program == sys.executable


def test_a_program_that_is_not_there_has_a_nearest(forge: Forge) -> None:
    with pytest.raises(ToolMissing) as caught:
        forge.run("p", ("torchrum",))
    assert str(caught.value) == "`torchrum` is needed for `envforge run p`, and is not installed"
    assert caught.value.hint == "did you mean `torchrun`?"
    with pytest.raises(ToolMissing) as caught:
        forge.run("p", ("jupyter",))

    assert caught.value.hint == "`envforge add p PKG` adds the package that brings it"


def test_a_prefix_without_programs(forge: Forge, tmp_path: Path) -> None:
    """Given by its path, it needs no folder of ours."""
    bare = tmp_path / "bare"
    (bare / "conda-meta").mkdir(parents=True)
    (bare / "conda-meta" / "history").write_text("")
    with pytest.raises(ToolMissing, match="`torchrum`"):
        forge.run("anything", ("torchrum",), prefix=bare)


def test_what_is_not_installed_cannot_be_entered(forge: Forge, tmp_path: Path) -> None:
    make_environment(forge, "q")
    for enter in (lambda env: forge.run(env, ("python",)), forge.activate):
        with pytest.raises(BrokenPrefix, match="nothing is installed here") as caught:
            enter("q")
        assert caught.value.hint == "`envforge install q-torch27-cu126`"
        with pytest.raises(NoSuchEnvironment):
            enter("zzz")


def activated(forge: Forge, variables: dict[str, str], shell: str | None = None) -> str:
    place = workplace_of(forge)
    environment = {"HOME": str(place.settings.home), **variables}
    place.settings = replace(place.settings, environment=environment)
    return forge.activate("p", shell=shell)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SHELL": "/usr/bin/fish"}, "set -gx"),
        ({"SHELL": "/bin/bash"}, "export CONDA_PREFIX="),
        ({"SHELL": "/usr/local/bin/zsh"}, "export CONDA_PREFIX="),
        ({"SHELL": "/bin/dash"}, "export CONDA_PREFIX="),
        ({"SHELL": "/usr/bin/pwsh"}, "$env:"),
        ({"SHELL": ""}, "export CONDA_PREFIX="),
        ({}, "export CONDA_PREFIX="),
    ],
)
def test_the_shell_is_the_persons_own(forge: Forge, variables: dict[str, str], words: str) -> None:
    assert words in activated(forge, variables)


def test_the_shell_may_be_named(forge: Forge) -> None:
    code = activated(forge, {"SHELL": "/bin/bash"}, "fish")

    assert "set -gx" in code
    assert str(forge.settings.prefixes / NAME) in code


def test_a_shell_that_we_write_no_code_for(forge: Forge) -> None:
    with pytest.raises(InvalidValue, match="shell `tcsh` is not one we write code for") as caught:
        activated(forge, {"SHELL": "/bin/tcsh"})

    assert caught.value.hint == "`--shell` takes bash, zsh, fish, powershell"
