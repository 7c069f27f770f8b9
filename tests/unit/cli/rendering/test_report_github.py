"""Workflow commands and the summary of a run on GitHub."""

from __future__ import annotations

from urllib.parse import unquote

from fakes.reports import ASKED, BROKEN, HEALTHY, HOSTILE, UNSEEN, WARNED

from envforge.cli.rendering.report_github import fenced, summary, workflow_commands


def test_errors_and_warnings_are_annotated() -> None:
    [line] = workflow_commands([BROKEN])
    assert line.startswith("::error title=nlp-bert-torch20-cu118%3A other-cuda-build::torch was ")
    assert line.endswith("%0Ado: envforge install nlp-bert-torch20-cu118")
    [line] = workflow_commands([WARNED])
    assert line.startswith("::warning title=")
    assert list(workflow_commands([HEALTHY])) == []
    [line] = workflow_commands([ASKED])
    assert line == "::error title=x%3A odd::the check could not look: no GPU"
    [line] = workflow_commands([UNSEEN])
    assert line.startswith("::error title=x%3A probe-unseen::the interpreter gave no answer: ")


def test_a_message_stays_within_its_command() -> None:
    """No line of it becomes a command of its own."""
    for line in workflow_commands([HOSTILE]):
        assert line.splitlines() == [line]
        kind, title, text = line.split("::", 3)[1:] if line.count("::") == 2 else _parts(line)
        assert kind.split(" ")[0] in {"error", "warning"}
        assert "%0A::error::x" in text or "::error::x" in unquote(text)
        assert ":" not in title
        assert "," not in title
        assert "\x1b" not in line


def _parts(line: str) -> tuple[str, str, str]:
    _, head, text = line.split("::", 2)
    kind, _, title = head.partition(" title=")
    return kind, title, text


def test_text_around_the_commands_is_none() -> None:
    """A file called `::set-output::` must not be taken at its word."""
    first, middle, last = fenced("::error::x\n").splitlines()
    token = first.removeprefix("::stop-commands::")
    assert len(token) == 32
    assert middle == "::error::x"
    assert last == f"::{token}::"
    assert fenced("x") != fenced("x")


def test_the_summary_is_markdown() -> None:
    text = summary([BROKEN, HEALTHY, WARNED])
    assert text.startswith("### nlp-bert-torch20-cu118: NOT OK (level live)\n")
    assert "| error | other-cuda-build | torch was compiled with CUDA 11.7" in text
    assert "| warning | lock-drift |" in text
    assert "| GPU 0 | NVIDIA H100 \\(9.0\\), 80 GiB" in text


def test_nothing_breaks_out_of_the_table() -> None:
    for line in summary([HOSTILE]).splitlines():
        if line.startswith("|"):
            bars = line.replace("\\\\", "").replace("\\|", "").count("|")
            assert bars in {3, 5}
        assert "<" not in line.replace("\\<", "")
