"""How a verification looks."""

from __future__ import annotations

import io
import json

import pytest
from fakes.facts import TARGET, V100, device, host, no_driver, prefix, probe, subject, torch_files
from rich.console import Console

from envforge.cli import render_report
from envforge.model.finding import Outcome, Report
from envforge.model.prefix import InstalledPackage
from envforge.verify.registry import CHECKS
from envforge.verify.verify import report

BROKEN = report(
    subject(host=host("470.82.01", "11.4", V100), prefix=prefix(torch=torch_files(cuda="11.7")))
)
HEALTHY = report(subject())
NO_GPU = report(subject(host=no_driver(), level="import", probe=probe(devices=())))
WARNED = report(
    subject(
        prefix=prefix(
            wheels=(*prefix().wheels, InstalledPackage(name="black", manager="pip", version="25.1"))
        )
    )
)
CRASHED = Report(
    subject="x",
    prefix="",
    level="static",
    outcomes=(Outcome(check="odd", claim="c", verdict="crashed", detail="KeyError: 1"),),
)


def test_problems_come_first_then_what_is_unproven_then_what_is_proven() -> None:
    """In the order in which a tired person needs them."""
    text = render_report.as_text(BROKEN)

    assert text.startswith("nlp-bert-torch20-cu118: NOT OK (1 problem, ")
    assert "error: torch was compiled with CUDA 11.7" in text
    assert "\n  do: envforge install nlp-bert-torch20-cu118\n" in text
    assert text.index("error:") < text.index("\nproven\n")


def test_what_could_not_be_proven_is_said_with_its_reason() -> None:
    """Grouped: one missing GPU is one reason."""
    text = render_report.as_text(NO_GPU)

    assert text.startswith("nlp-bert-torch20-cu118: ok (")
    assert text.count("no NVIDIA driver on this machine:") == 1
    assert "- A kernel runs on every GPU, and its result is right" in text


def test_a_healthy_report_is_short() -> None:
    """Nothing but the table."""
    text = render_report.as_text(HEALTHY)
    assert "error" not in text
    assert "not proven" not in text
    assert "  torch           2.0.1, imported\n" in text


def test_a_warning_is_no_failure() -> None:
    """And is counted as such."""
    assert "ok (1 warning, " in render_report.as_text(WARNED)


def test_a_crashed_check_is_a_problem() -> None:
    """With its name."""
    text = render_report.as_text(CRASHED)
    assert "NOT OK (1 crashed check, 0 checks passed" in text
    assert "error: the check `odd` crashed: KeyError: 1" in text


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("shown", [BROKEN, HEALTHY, NO_GPU, WARNED], ids=["b", "h", "n", "w"])
def test_nothing_but_commands_is_wider_than_the_terminal(shown: Report, width: int) -> None:
    """Commands stay whole, to be copied."""
    for line in render_report.as_text(shown, width=width).splitlines():
        assert len(line) <= width or line.startswith("  do: ")


def render(shown: Report, **options: object) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=80, highlight=False, **options)  # type: ignore[arg-type]
    render_report.print_report(shown, console)
    return stream.getvalue()


def test_colour_only_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain when piped, and where NO_COLOR is set; the words are the same."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    plain = render_report.as_text(BROKEN)

    assert render(BROKEN) == plain
    assert "\x1b[31m" in render(BROKEN, force_terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in render(BROKEN, force_terminal=True)


def test_brackets_are_text_and_not_markup() -> None:
    """rich would swallow `[driver-too-old]`."""
    assert "[other-cuda-build]" in render(BROKEN)


def test_json_names_its_schema_and_holds_everything() -> None:
    """One document for all reports of a run."""
    document = json.loads(render_report.as_json(BROKEN, NO_GPU))

    assert document["schema"] == "envforge.verify/1"
    assert document["passed"] is False
    broken, no_gpu = document["reports"]
    assert broken["findings"][0]["check"] == "other-cuda-build"
    assert broken["findings"][0]["remedy"]
    assert {item["check"] for item in broken["outcomes"]} == CHECKS.keys()
    assert {"check": "driver-too-old", "reason": "no NVIDIA driver on this machine"} in no_gpu[
        "unproven"
    ]


def test_show_writes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Text with a blank line between reports, or JSON."""
    render_report.show([HEALTHY, WARNED], as_json=False)
    assert "\n\nnlp-bert-torch20-cu118: ok (1 warning" in capsys.readouterr().out
    render_report.show([HEALTHY], as_json=True)
    assert json.loads(capsys.readouterr().out)["passed"] is True


def test_the_table_of_checks(capsys: pytest.CaptureFixture[str]) -> None:
    """Id, level and claim; warnings are marked."""
    render_report.show_checks(CHECKS, as_json=False)
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == len(CHECKS)
    assert any(row.startswith("machine-local-lock") and row.endswith("(warning)") for row in rows)
    render_report.show_checks(CHECKS, as_json=True)
    assert len(json.loads(capsys.readouterr().out)["checks"]) == len(CHECKS)
    render_report.show_checks({}, as_json=False)
    assert capsys.readouterr().out == ""


def test_a_long_value_is_wrapped_under_itself() -> None:
    """The label column stays free."""
    long = Report(subject="x", prefix="", level="static", outcomes=(), proven={"GPU": "word " * 30})
    lines = render_report.as_text(long, width=60).splitlines()
    assert lines[-1].startswith("       word")


def test_subjects_of_this_file_are_what_they_claim() -> None:
    """Guards the fixtures: only BROKEN and CRASHED fail."""
    assert [item.passed for item in (HEALTHY, NO_GPU, WARNED)] == [True] * 3
    assert not BROKEN.passed
    assert not CRASHED.passed
    assert TARGET.cuda is not None
    assert device().kernel_right
