"""What goes where: answers on standard output, all else on standard error, colour in terminals."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from e2e.world import PYTHON, Place, World

ESCAPE = "\x1b"
COLOUR = r"\x1b\[(\d+;)*(3|4|9|10)\d(;|m)"


# --- pipes ----------------------------------------------------------------------------------


def test_the_answer_is_all_of_standard_output(place: Place, world: World) -> None:
    """Progress and notes are plain lines on standard error; -q leaves the answer only."""
    options = world.pytorch_cuda.options
    done = place.good("create", "x", *options, env={"FORCE_COLOR": "", "TERM": "xterm"})

    assert done.out.splitlines()[0].startswith("locked ")
    assert "note:" not in done.out
    steps = [line for line in done.err.splitlines() if line.startswith("[")]
    assert [re.sub(r"^\[ *[\d.]+ s\] ", "", line) for line in steps] == [
        *("solving linux-64", "linking 5 packages", f"verifying {world.pytorch_cuda.name('x')}")
    ]
    assert ESCAPE not in done.out + done.err
    assert "\r" not in done.out + done.err
    assert place.good("create", "x", *options, "-q").err == ""
    spoken = place.good("install", "x", "-v").err
    assert ESCAPE not in spoken


ANSWERS = [
    ("create settled {options} --json", "envforge.create/1"),
    ("create other {options} --json --dry-run", "envforge.create/1"),
    ("lock settled {options} --json", "envforge.lock/1"),
    ("install settled --json", "envforge.install/1"),
    ("install settled --json --dry-run", "envforge.install/1"),
    ("add settled cuda-cudart --json --no-install --dry-run", "envforge.add/1"),
    ("list --json", "envforge.list/1"),
    ("show settled --json", "envforge.show/1"),
    ("verify settled --json --level static", "envforge.verify/1"),
    ("verify --list --json", "envforge.checks/1"),
    ("templates --json", "envforge.templates/1"),
    ("templates nlp --json", "envforge.templates/1"),
    ("matrix --torch 2.0.1 --json", "envforge.matrix/1"),
]


@pytest.mark.parametrize(("command", "schema"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_json_is_one_document_with_its_schema(
    settled: tuple[Place, str], world: World, command: str, schema: str
) -> None:
    place, _ = settled
    options = " ".join(world.pytorch_cuda.options)
    done = place.good(*command.format(options=options).split())
    assert done.json["schema"] == schema


ERRORS = [
    ("create x --torch 2.0.1 --cuda 12 --json", 2, "invalid-value"),
    ("create x --torch 9.9.9 --cuda 11.8 --json", 3, "no-matching-build"),
    ("create x --torch 2.0.1 --cuda 11.8 --driver 440.33 --json", 3, "driver-too-old"),
    ("create x {options} --with greter --json", 4, "unsolvable"),
    ("create x {options} --mirror /nowhere --json", 7, "unreachable"),
    ("show nope --json", 2, "no-such-environment"),
    ("show --json", 2, "usage"),
    ("show x --jsn --json", 2, "usage"),
    ("install nope --json", 2, "no-such-environment"),
]


@pytest.mark.parametrize(("command", "status", "code"), ERRORS, ids=[row[0] for row in ERRORS])
def test_errors_are_json_too(
    settled: tuple[Place, str], world: World, command: str, status: int, code: str
) -> None:
    place, _ = settled
    options = " ".join(world.pytorch_cuda.options)
    done = place.run(*command.format(options=options).split(), "-q")
    assert done.status == status
    document = done.json
    assert document["schema"] == "envforge.error/1"
    error = document["error"]
    assert (error["code"], error["exit_code"]) == (code, status)
    assert error["message"]
    assert done.err == ""


def test_a_reader_that_leaves_early(settled: tuple[Place, str]) -> None:
    """`envforge … | head -1`: quiet, and not a traceback."""
    place, name = settled
    for command in ("--help", f"show {name} --packages", "matrix", f"verify {name} --json"):
        done = subprocess.run(
            ["sh", "-c", f"{sys.executable} -m envforge {command} | head -c 1 >/dev/null"],
            env=place.environment(),
            cwd=place.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert "Broken" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", ["--help", "verify --list", "list --json", "matrix"])
def test_an_output_that_takes_no_more(settled: tuple[Place, str], command: str) -> None:
    """A full disk under `envforge … > answer.json`: status 7 and one line."""
    place, _ = settled
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m envforge {command} >/dev/full"],
        env=place.environment(),
        cwd=place.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert done.stderr.splitlines()[-1] == (
        "error: cannot write the answer: no space left on device"
    )
    assert "Traceback" not in done.stderr


def test_plain_c_locale(settled: tuple[Place, str]) -> None:
    """No UTF-8 anywhere: the same words."""
    place, name = settled
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert place.good("verify", name, env=plain).out.startswith(f"{name}: ok")
    assert place.good("matrix", "--torch", "2.0.1", env=plain).out
    assert place.good("templates", env=plain).out
    assert json.loads(place.good("show", name, "--json", env=plain).out)
    wrong = place.run("create", "é", "--torch", "2.0.1", "--cuda", "11.8", env=plain)
    assert wrong.status == 2, wrong.err
    assert "project name" in wrong.err
    assert place.good("create", "settled", *options_of(name), env=plain).out


def options_of(name: str) -> list[str]:
    cuda = re.fullmatch(r".*-torch(\d)(\d+)-cu(\d\d)(\d)", name)
    assert cuda
    torch = {"20": "2.0.1", "25": "2.5.1"}[cuda[1] + cuda[2]]
    chosen = f"--torch {torch} --cuda {cuda[3]}.{cuda[4]} --source pytorch --python {PYTHON}"
    return chosen.split()


# --- terminals ------------------------------------------------------------------------------


def in_terminal(
    place: Place, *arguments: str, env: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run in a terminal of 80 columns and 24 lines; its screen's whole stream."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80)) if sys.version_info >= (3, 11) else _resize(follower)
    process = subprocess.Popen(
        [sys.executable, "-m", "envforge", *arguments],
        env=place.environment({"TERM": "xterm-256color", **(env or {})}),
        cwd=place.folder,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    text, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        ready, _, _ = select.select([leader], [], [], 0.5)
        if ready:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # the last process closed it
                break
            if not chunk:
                break
            text += chunk
    os.close(leader)
    return process.wait(10), text.decode()


def _resize(descriptor: int) -> None:
    import fcntl
    import struct

    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))


def screen(stream: str) -> list[str]:
    """What is left to see: a terminal of endless length, for the codes that are used."""
    lines, row, column = [""], 0, 0
    parts = re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\x1b\][^\x07]*\x07|[\r\n]|[^\x1b\r\n]+", stream)
    for part in parts:
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif part.startswith("\x1b["):
            number = int(re.sub(r"\D", "", part) or 1)
            if part[-1] == "A":
                row = max(0, row - number)
            elif part[-1] == "K":
                lines[row] = "" if number == 2 else lines[row][:column]
        else:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines]


def test_a_terminal_shows_moving_progress_and_keeps_what_matters(
    place: Place, world: World
) -> None:
    """The bar goes away; a line is left for each step, and the report after it."""
    status, stream = in_terminal(place, "create", "x", *world.pytorch_cuda.options)

    assert status == 0, stream
    assert f"{ESCAPE}[?25l" in stream  # the bar hides the cursor
    assert stream.rindex(f"{ESCAPE}[?25h") > stream.rindex(f"{ESCAPE}[?25l")  # and shows it again
    shown = screen(stream)
    name = world.pytorch_cuda.name("x")
    steps = [line for line in shown if line.startswith("✓ ")]
    assert [re.sub(r" \([\d.]+ s\)$", "", line) for line in steps] == [
        *("✓ solving linux-64", "✓ linking 5 packages", f"✓ verifying {name}")
    ]
    assert shown.count(f"next: envforge run {name} -- python") == 1
    assert not [line for line in shown if "━" in line]


def test_no_color_and_dumb_terminals(settled: tuple[Place, str]) -> None:
    place, name = settled
    _, coloured = in_terminal(place, "verify", name)
    assert f"{ESCAPE}[32m{ESCAPE}[1m{name}: ok" in coloured
    for command in (["verify", name], ["install", name], ["show", name], ["show", "nope"]):
        _, plain = in_terminal(place, *command, env={"NO_COLOR": "1"})
        assert not re.search(COLOUR, plain), plain
    assert "error: no environment `nope`" in plain
    _, dumb = in_terminal(place, "install", name, env={"TERM": "dumb"})
    assert ESCAPE not in dumb


@pytest.mark.parametrize(
    "command", ["list", "verify {name}", "templates", "matrix", "--help", "create --help"]
)
def test_eighty_columns_are_enough(settled: tuple[Place, str], command: str) -> None:
    """But for paths and commands, which are copied and so never cut."""
    place, name = settled
    status, stream = in_terminal(place, *command.format(name=name).split())
    assert status == 0
    wide = [line for line in screen(stream) if len(line) > 80]
    assert not [line for line in wide if str(place.folder) not in line], wide
