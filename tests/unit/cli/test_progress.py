"""Progress on stderr: plain lines in a file, one moving line in a terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from envforge.cli.progress import LiveReporter, PlainReporter, reporter_for
from envforge.errors import Unreachable


def plain(verbosity: int = 0) -> tuple[PlainReporter, io.StringIO]:
    stream = io.StringIO()
    return PlainReporter(stream, verbosity), stream


def work(reporter: PlainReporter) -> None:
    """A little of everything."""
    with reporter.step("solving linux-64"):
        reporter.progress(1, 2, "packages", "numpy")
        reporter.progress(2, 2, "packages", "torch")
        reporter.note("source wheels: because")
    reporter.warn("look here")


@pytest.mark.parametrize(
    ("verbosity", "lines"),
    [
        (-1, ["warning: look here"]),
        (0, ["note: source wheels: because", "[ T s] solving linux-64", "warning: look here"]),
        (
            1,
            [
                "... solving linux-64",
                "    2 packages torch",
                "note: source wheels: because",
                "[ T s] solving linux-64",
                "warning: look here",
            ],
        ),
    ],
)
def test_plain_lines(verbosity: int, lines: list[str]) -> None:
    """A log file is no progress bar: a step is one line, when it ends."""
    reporter, stream = plain(verbosity)
    work(reporter)

    assert re.sub(r"\[ *\d+\.\d s\]", "[ T s]", stream.getvalue()).splitlines() == lines


def test_a_step_that_fails_does_not_say_that_it_ended() -> None:
    reporter, stream = plain()
    with pytest.raises(Unreachable), reporter.step("solving"):
        raise Unreachable(url="https://x", reason="gone")

    assert stream.getvalue() == ""


def test_progress_without_a_total_is_not_a_line() -> None:
    reporter, stream = plain(1)
    reporter.progress(3, None, "bytes")
    reporter.progress(0, 0)

    assert stream.getvalue() == ""


# --- in a terminal --------------------------------------------------------------------------


@contextmanager
def terminal(**variables: str) -> Iterator[list[str]]:
    """Standard error is a terminal in this block; what was written to it is in the list after."""
    master, slave = pty.openpty()
    written: list[str] = []
    usual = {"TERM": "xterm-256color", "COLUMNS": "80", "NO_COLOR": ""}
    with os.fdopen(slave, "w", buffering=1) as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        for name, value in {**usual, **variables}.items():
            patch.setenv(name, value)
        yield written
    parts = []
    with suppress(OSError):  # how Linux says that the other end is closed
        while part := os.read(master, 65536):
            parts.append(part)
    os.close(master)
    written.append(without_escapes(b"".join(parts).decode()))


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal_gets_a_moving_line() -> None:
    with terminal() as written:
        reporter = reporter_for(0)
        assert isinstance(reporter, LiveReporter)
        reporter.progress(1, 2)  # before the first step: nowhere to be shown
        with reporter.step("linking 3 packages"):
            reporter.progress(1_500_000, 3_000_000, "bytes", "pytorch")
            reporter._bar.refresh()
            with reporter.step("waiting"):
                reporter.progress(7, None, "files")
                reporter._bar.refresh()
            reporter.note("inside")
        reporter.warn("look [here]")
    [seen] = written
    lines = [line.strip() for line in seen.splitlines()]

    assert "1.5 MB of 3.0 MB pytorch" in seen
    assert "7 files" in seen
    done = [re.sub(r"\d+\.\d", "T", line) for line in lines if line.startswith("✓")]
    assert done == ["✓ waiting (T s)", "✓ linking 3 packages (T s)"]
    assert any(line.endswith("note: inside") for line in lines)
    assert lines[-1] == "warning: look [here]"


def test_a_step_that_fails_is_marked() -> None:
    """Also for those who cannot see the colour; the line stops moving before the error."""
    with terminal() as written:
        reporter = LiveReporter()
        with pytest.raises(Unreachable), reporter.step("solving"):
            raise Unreachable(url="https://x", reason="gone")
        assert reporter._bar is None

    assert "✗ solving (0.0 s)" in written[0]


def test_paths_are_not_taken_for_markup() -> None:
    """Nor broken at the edge: they are copied."""
    with terminal() as written:
        reporter = LiveReporter()
        with reporter.step("reading [bold]x[/bold]"):
            reporter.note("[red]/a/b[/red] and a long path " + "x" * 90)

    assert "✓ reading [bold]x[/bold] (0.0 s)" in written[0]
    assert "note: [red]/a/b[/red] and a long path " + "x" * 90 in written[0]


@pytest.mark.parametrize(
    ("variables", "verbosity", "kind"),
    [
        ({}, 0, LiveReporter),
        ({}, 2, LiveReporter),
        ({}, -1, PlainReporter),
        ({"TERM": "dumb"}, 0, PlainReporter),
    ],
)
def test_what_suits_a_terminal(
    variables: dict[str, str], verbosity: int, kind: type[PlainReporter]
) -> None:
    with terminal(**variables):
        assert type(reporter_for(verbosity)) is kind


def test_a_file_gets_plain_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert type(reporter_for(0)) is PlainReporter
    reporter_for(0).note("x")
    assert capsys.readouterr() == ("", "note: x\n")
    with (tmp_path / "log").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        work(reporter_for(0))
    text = (tmp_path / "log").read_text()

    assert "\x1b" not in text
    assert text.endswith("warning: look here\n")


def test_notes_move_no_cursor() -> None:
    reporter, stream = plain()
    reporter.note("`a\x1b[2J`")
    reporter.warn("`b\x9b2J`")
    assert "note: `a\\x1b[2J`\n" in stream.getvalue()
    assert "\x9b" not in stream.getvalue()
