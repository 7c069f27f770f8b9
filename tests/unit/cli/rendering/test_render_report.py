"""Where answers go, and in which form."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from fakes.reports import BROKEN, CRASHED, HEALTHY, HOSTILE, NO_GPU, WARNED

from envforge.cli.rendering import plain_text, render_report
from envforge.errors import FileNotUsable
from envforge.verify.registry import CHECKS


def test_show_writes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Text with a blank line between reports, or JSON."""
    render_report.show([HEALTHY, WARNED], as_json=False)
    assert "\n\nnlp-bert-torch20-cu118: ok (1 warning" in capsys.readouterr().out
    render_report.show([HEALTHY], as_json=True)
    assert json.loads(capsys.readouterr().out)["passed"] is True


def test_colour_only_in_a_terminal() -> None:
    """Plain when piped; the words are the same."""

    @click.command()
    def command() -> None:
        render_report.show([BROKEN], as_json=False)

    piped = CliRunner().invoke(command).output
    assert piped == render_report.as_text(BROKEN, width=80)
    assert "\x1b[31m" in CliRunner().invoke(command, color=True).output


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    """In a folder that may have to be made; a directory in the way is an error."""
    render_report.write(tmp_path / "new" / "x.txt", "text\n")
    assert (tmp_path / "new" / "x.txt").read_text() == "text\n"
    with pytest.raises(FileNotUsable, match="it is a directory"):
        render_report.write(tmp_path, "text\n")


def test_a_link_keeps_leading_where_it_did(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    (tmp_path / "link").symlink_to(target)
    render_report.write(tmp_path / "link", "new\n")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "new\n"


def test_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    render_report.write(pipe, "text\n")
    reader.join(5)
    assert got == ["text\n"]


def test_minus_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    render_report.write(Path("-"), "text\n")
    assert capsys.readouterr().out == "text\n"


def test_a_file_of_many_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_text("before\n")
    render_report.append(path, "after\n")
    assert path.read_text() == "before\nafter\n"
    with pytest.raises(FileNotUsable):
        render_report.append(tmp_path / "no" / "summary", "x")


def test_a_stream_of_another_encoding_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def command() -> None:
        plain_text.echo("caf\xe9 \udcff \u2026")

    assert CliRunner(charset="ascii").invoke(command).output == "caf\\xe9 ? \\u2026\n"


def test_the_table_of_checks(capsys: pytest.CaptureFixture[str]) -> None:
    """Id, level, severity and claim."""
    render_report.show_checks(CHECKS, as_json=False)
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == len(CHECKS)
    [row] = [row for row in rows if row.startswith("machine-local-lock ")]
    assert row.split()[1:3] == ["static", "warning"]
    render_report.show_checks(CHECKS, as_json=True)
    assert len(json.loads(capsys.readouterr().out)["checks"]) == len(CHECKS)
    render_report.show_checks({}, as_json=False)
    assert capsys.readouterr().out == ""


def test_reports_of_these_tests_are_what_they_claim() -> None:
    """Guards `fakes.reports`."""
    assert [item.passed for item in (HEALTHY, NO_GPU, WARNED)] == [True] * 3
    assert [item.passed for item in (BROKEN, CRASHED, HOSTILE)] == [False] * 3
