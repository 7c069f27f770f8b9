"""`envforge completion`, and what it completes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from fakes.command_line import Run
from fakes.workplace import NAME, make_environment

from envforge.cli import COMMANDS, cli
from envforge.forge import Forge


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_code_for_each_shell(run: Run, shell: str) -> None:
    done = run("completion", shell)

    assert done.status == 0
    assert f"_ENVFORGE_COMPLETE={shell}_complete" in done.out
    assert "envforge" in done.out


def test_other_shells_are_refused(run: Run) -> None:
    assert run("completion", "tcsh").status == 2


def completed(*typed: str) -> list[str]:
    """What a shell would offer for the last word."""
    shell = ShellComplete(cli, {}, "envforge", "_ENVFORGE_COMPLETE")
    return [item.value for item in shell.get_completions(list(typed[:-1]), typed[-1])]


def test_commands_and_options_are_completed() -> None:
    assert completed("") == list(COMMANDS)
    assert completed("ma") == ["matrix"]
    assert "--require-gpu" in completed("create", "p", "--re")
    assert completed("create", "p", "--source", "co") == ["conda-forge"]


def test_environments_are_completed(forge: Forge) -> None:
    make_environment(forge)
    make_environment(forge, "q")

    for command in ("install", "verify", "add", "show", "run", "activate", "remove"):
        assert completed(command, "") == [NAME, "q-torch27-cu126"]
    assert completed("lock", "q") == ["q-torch27-cu126"]
    assert completed("bench", "--against", "q") == ["q-torch27-cu126"]
    assert completed("show", "x") == []


def test_the_folder_that_was_typed_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there" / "x-torch27-cpu").mkdir(parents=True)
    (tmp_path / "there" / "x-torch27-cpu" / "conda-lock.yml").touch()
    monkeypatch.chdir(tmp_path)

    assert completed("show", "--envs", "there", "x") == ["x-torch27-cpu"]
    assert completed("show", "x") == []


def test_broken_settings_complete_nothing_and_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.envforge]\nnope = 1\n")
    monkeypatch.chdir(tmp_path)

    assert completed("show", "") == []
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_is_none_completes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)

    assert completed("show", "--envs", "file", "") == []
