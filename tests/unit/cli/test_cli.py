"""The command group: help, unknown commands, and errors that become exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from fakes.command_line import Run
from fakes.workplace import NAME, make_environment

from envforge import __version__, cli
from envforge.cli import COMMANDS
from envforge.cli import list_ as list_module
from envforge.errors import Unreachable
from envforge.forge import Forge


def test_help_lists_every_command_in_its_section(run: Run) -> None:
    done = run("--help")
    lines = done.out.splitlines()

    assert done.status == 0
    for name, (section, text) in COMMANDS.items():
        assert f"{section}:" in lines
        assert any(line.split()[:1] == [name] and line.endswith(text) for line in lines)
    assert max(map(len, lines)) <= 80
    assert run("-h").out == done.out


def test_help_fits_a_terminal() -> None:
    """Of every command, those of groups included."""

    def wide(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
        context = click.Context(command, info_name=name, parent=parent, terminal_width=80)
        yield from (line for line in command.get_help(context).splitlines() if len(line) > 80)
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                found = command.get_command(context, inner)
                assert found is not None
                yield from wide(found, inner, context)

    assert list(wide(cli.cli, "envforge", None)) == []


def test_the_version(run: Run) -> None:
    assert run("--version").out == f"envforge {__version__}\n"


def test_no_command_shows_the_help(run: Run) -> None:
    assert "Main job:" in run().out + run().err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("instal", "Did you mean 'install' or 'list'?"),
        ("lsit", "Did you mean 'list' or 'git'?"),
        ("xyzzy", "No such command 'xyzzy'."),
    ],
)
def test_an_unknown_command_shows_the_nearest(run: Run, typed: str, said: str) -> None:
    done = run(typed)

    assert done.status == 2
    assert said in done.err
    assert done.err.count("Did you mean") <= 1
    assert done.out == ""


def test_an_unknown_option_is_named(run: Run) -> None:
    done = run("list", "--jsno")

    assert done.status == 2
    assert "--jsno" in done.err


@pytest.mark.usefixtures("forge")
def test_an_expected_failure_ends_with_its_code(run: Run) -> None:
    """A sentence and a hint on stderr; nothing on stdout."""
    done = run("show", "zzz")

    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("error: no environment `zzz` in `")
    assert done.err.endswith("hint: `envforge list` shows what is there\n")


@pytest.mark.usefixtures("forge")
def test_under_json_errors_are_json_too(run: Run) -> None:
    """Those of the command line as well as those of the job."""
    failed = run("show", "zzz", "--json")
    assert (failed.status, failed.err) == (2, "")
    assert failed.json["schema"] == "envforge.error/1"
    assert failed.json["error"]["code"] == "no-such-environment"
    assert failed.json["error"]["facts"]["name"] == "zzz"
    mistyped = run("show", "--json", "zzz", "--nope")
    assert (mistyped.status, mistyped.err) == (2, "")
    assert mistyped.json["error"]["code"] == "usage"
    assert "--nope" in mistyped.json["error"]["message"]
    unknown = run("shwo", "--json")
    assert unknown.json["error"]["message"].endswith("Did you mean 'show'?")


@pytest.mark.usefixtures("forge")
@pytest.mark.parametrize("words", [("--", "tool", "--json"), ("tool", "--json")])
def test_the_json_of_a_program_that_is_run_is_not_ours(run: Run, words: tuple[str, ...]) -> None:
    done = run("run", "zzz", *words)

    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("error: no environment `zzz`")


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({"NO_COLOR": None}, True),
        ({"NO_COLOR": ""}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": None, "TERM": "dumb"}, False),
    ],
)
def test_no_color_is_honoured(
    run: Run, forge: Forge, variables: dict[str, str | None], coloured: bool
) -> None:
    """https://no-color.org: present and not empty. Nor does a dumb terminal get any."""
    make_environment(forge)
    for words in (("show", "p"), ("show", "zzz")):
        done = run(*words, color=True, **{"TERM": "xterm-256color", **variables})
        assert ("\x1b[" in done.out + done.err) == coloured


# --- main: what the process ends with -------------------------------------------------------


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`main`, in this process: the status it would leave with.

    Other tests have loaded rattler here, and then `leave` ends the process for good.
    """

    class Left(BaseException):
        pass

    def leave(status: int) -> None:
        raise Left(status)

    monkeypatch.setattr(cli, "leave", leave)

    def call(*arguments: str) -> int:
        with pytest.raises(Left) as caught:
            cli.main(arguments)
        status: int = caught.value.args[0]
        return status

    return call


def break_list(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have `envforge list` end badly."""

    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(list_module, "command", command)


def test_what_went_well_ends_with_zero(ends: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends("--version") == 0
    assert capsys.readouterr().out == f"envforge {__version__}\n"


@pytest.mark.usefixtures("forge")
def test_expected_failures_end_with_their_code(
    ends: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends("show", "zzz") == 2
    break_list(monkeypatch, Unreachable(url="https://x", reason="gone"))
    assert ends("list") == 7
    assert "error: cannot read `https://x`: gone\n" in capsys.readouterr().err


def test_a_wrong_command_line_ends_with_two(ends: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends("nope") == 2
    assert "Try 'envforge -" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort(), EOFError()])
def test_an_interruption_ends_with_130(
    ends: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
) -> None:
    break_list(monkeypatch, error)

    assert ends("list") == 130
    assert capsys.readouterr().err.endswith("interrupted\n")


def test_a_bug_keeps_its_traceback(
    ends: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_list(monkeypatch, ZeroDivisionError("by zero"))

    assert ends("list") == 70
    said = capsys.readouterr().err
    assert "Traceback (most recent call last):" in said
    assert "ZeroDivisionError: by zero" in said
    assert said.splitlines()[-1].startswith("error: this is a bug in envforge: please report it")


def test_a_program_that_ends_itself_is_let_go(ends: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only rich's way to end at a closed pipe is taken for one."""
    break_list(monkeypatch, SystemExit(3))
    with pytest.raises(SystemExit) as caught:
        cli.main(["list"])

    assert caught.value.code == 3


# --- children: what cannot be shown in this process -----------------------------------------


Child = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """Another interpreter, in an empty folder, with buffers as they are without a variable."""
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env=kept,
        )

    return call


@pytest.mark.parametrize("command", ["list", "matrix"])
def test_a_reader_that_goes_away_is_no_failure_of_ours(command: str, child: Child) -> None:
    """`envforge matrix | head -1`: the status of SIGPIPE, and nothing said.

    click and rich each have their own way to meet it.
    """
    code = (
        "import os, sys\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        "os.dup2(write, 1)\n"
        "from envforge.cli import main\n"
        f"main([{command!r}])\n"
    )
    done = child("-c", code)

    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("status", [0, 5])
def test_the_status_is_right_whatever_an_engine_does_at_exit(status: int, child: Child) -> None:
    """Once rattler was loaded, what it registered for the exit is left out."""
    code = (
        "import atexit, os, sys, types\n"
        "sys.modules['rattler'] = types.ModuleType('rattler')\n"
        "atexit.register(os.abort)\n"
        "print('the answer', end='')\n"
        "from envforge.cli import leave\n"
        f"leave({status})\n"
    )
    done = child("-c", code)

    assert (done.returncode, done.stdout) == (status, "the answer")


def test_without_an_engine_the_exit_is_an_ordinary_one(child: Child) -> None:
    code = (
        "import atexit\n"
        "atexit.register(print, 'said at exit')\n"
        "from envforge.cli import leave\n"
        "leave(4)\n"
    )
    done = child("-c", code)

    assert (done.returncode, done.stdout) == (4, "said at exit\n")


def test_a_reader_that_is_gone_at_the_very_end(child: Child) -> None:
    """What is still in the buffer cannot be written; a failure keeps its own status."""
    code = (
        "import os, sys, types\n"
        "sys.modules['rattler'] = types.ModuleType('rattler')\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        "os.dup2(write, 1)\n"
        "print('lost')\n"
        "from envforge.cli import leave\n"
        "leave(int(sys.argv[1]))\n"
    )
    for status, expected in (("0", 141), ("5", 5)):
        assert child("-c", code, status).returncode == expected


def test_the_module_can_be_run(child: Child) -> None:
    done = child("-m", "envforge", "list", "--json")

    assert done.returncode == 0
    assert json.loads(done.stdout) == {"schema": "envforge.list/1", "environments": []}


def test_the_name_of_the_environment_is_what_people_type(run: Run, forge: Forge) -> None:
    """Guards the fixtures of this folder: the command line sees the fake place."""
    make_environment(forge)

    assert run("list", "--json").json["environments"][0]["name"] == NAME


def test_a_measured_run_is_saved_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """coverage saves at exit, which is left out."""
    calls: list[str] = []
    measured = SimpleNamespace(stop=lambda: calls.append("stop"), save=lambda: calls.append("save"))
    module = SimpleNamespace(Coverage=SimpleNamespace(current=lambda: measured))
    monkeypatch.setitem(sys.modules, "rattler", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "coverage", module)
    monkeypatch.setattr(os, "_exit", lambda status: calls.append(f"exit {status}"))
    cli.leave(3)
    assert calls == ["stop", "save", "exit 3"]

    module.Coverage.current = lambda: None
    cli.leave(0)
    monkeypatch.delitem(sys.modules, "coverage")
    cli.leave(0)
    assert calls[3:] == ["exit 0", "exit 0"]
