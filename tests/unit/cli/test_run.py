"""`envforge run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes.command_line import Run

from envforge.cli import options


class Recorder:
    """The part of `Forge` that the command calls; the real one ends this process."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[str, ...], Path | None]] = []

    def run(self, env: str, command: Sequence[str], *, prefix: Path | None = None) -> None:
        self.calls.append((env, tuple(command), prefix))


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    forge = Recorder()
    monkeypatch.setattr(options, "make_forge", lambda *_: forge)
    return forge


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (("p", "--", "python", "-c", "x", "--help"), ("python", "-c", "x", "--help")),
        (("p", "python", "-V"), ("python", "-V")),
        (("p", "--", "tool", "--", "x"), ("tool", "--", "x")),
        (("p", "--", "--odd"), ("--odd",)),
        (("p", "tool", "--prefix", "y", "-q"), ("tool", "--prefix", "y", "-q")),
    ],
)
def test_what_stands_behind_the_environment_is_the_commands_own(
    run: Run, forge: Recorder, arguments: tuple[str, ...], command: tuple[str, ...]
) -> None:
    assert run("run", *arguments).status == 0
    assert forge.calls == [("p", command, None)]


def test_our_options_come_first(run: Run, forge: Recorder) -> None:
    assert run("run", "--prefix", "/x", "-q", "p", "--", "python").status == 0
    assert forge.calls == [("p", ("python",), Path("/x"))]


@pytest.mark.parametrize("arguments", [("p",), ("p", "--"), ()])
def test_a_command_is_needed(run: Run, forge: Recorder, arguments: tuple[str, ...]) -> None:
    done = run("run", *arguments)

    assert done.status == 2
    assert "Missing argument" in done.err
    assert forge.calls == []
