"""How a verification looks as text."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.reports import ASKED, BROKEN, CRASHED, HEALTHY, HOSTILE, NO_GPU, UNSEEN, WARNED

from envforge.cli.rendering.report_text import as_text, coloured, lines
from envforge.model.finding import Outcome, Report


def test_problems_come_first_then_what_is_proven_then_what_is_not() -> None:
    """In the order in which a tired person needs them: one line each, the remedy below."""
    text = as_text(BROKEN)

    assert text.startswith("nlp-bert-torch20-cu118: NOT OK (1 problem, ")
    assert "error: torch was compiled with CUDA 11.7" in text
    assert "\n  do: envforge install nlp-bert-torch20-cu118\n" in text
    assert text.index("error:") < text.index("\nproven\n")
    both = as_text(replace(NO_GPU, outcomes=(*NO_GPU.outcomes, *BROKEN.outcomes)))
    assert both.index("error:") < both.index("\nproven\n") < both.index("\nnot proven\n")


def test_what_was_seen_is_told_on_request() -> None:
    assert "  seen: " not in as_text(BROKEN)
    assert "why: envforge explain other-cuda-build; -v shows" in as_text(BROKEN)
    more = as_text(BROKEN, verbose=True)
    for label in ("seen", "expected", "why", "source"):
        assert f"\n  {label}: " in more
    assert "\npassed\n" in more


def test_what_could_not_be_proven_is_one_line_a_reason() -> None:
    """One missing GPU is one reason; the claims are told on request."""
    text = as_text(NO_GPU)

    assert text.startswith("nlp-bert-torch20-cu118: ok (")
    [line] = [row for row in text.splitlines() if "no NVIDIA driver on this machine: " in row]
    assert "driver-too-old" in line
    assert line.endswith(" more")
    assert "- A kernel runs on every GPU, and its result is right" in as_text(NO_GPU, verbose=True)


def test_a_healthy_report_is_short() -> None:
    """Nothing but the table."""
    text = as_text(HEALTHY)
    assert "error" not in text
    assert "not proven" not in text
    assert "  torch           2.0.1, imported\n" in text
    assert "explain" not in text


def test_a_warning_is_no_failure() -> None:
    """And is counted as such."""
    assert "ok (1 warning, " in as_text(WARNED)


def test_a_crashed_check_is_a_problem() -> None:
    """With its name."""
    text = as_text(CRASHED)
    assert "NOT OK (1 crashed check, 0 checks passed" in text
    assert "error: the check `odd` crashed: KeyError: 1" in text


def test_what_had_to_be_looked_at_is_a_problem() -> None:
    """Told once: where a finding says so already, it is enough."""
    text = as_text(UNSEEN)
    assert text.startswith("x: NOT OK (could not look, 0 checks passed")
    assert "error: the interpreter gave no answer: it hung\n  do: see to it\n" in text
    told = replace(UNSEEN, outcomes=BROKEN.outcomes)
    assert "it hung" not in as_text(told)
    assert "NOT OK (1 problem, " in as_text(told)


def test_a_check_that_was_asked_for_must_answer() -> None:
    text = as_text(ASKED)
    assert text.startswith("x: NOT OK (1 check without an answer, ")
    assert "error: the check `odd` could not look: no GPU" in text
    two = replace(ASKED, outcomes=(*ASKED.outcomes, replace(ASKED.outcomes[0], check="even")))
    assert "2 checks without an answer" in as_text(replace(two, asked=("odd", "even")))


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("shown", [BROKEN, HEALTHY, NO_GPU, WARNED], ids=["b", "h", "n", "w"])
def test_nothing_but_commands_is_wider_than_the_terminal(
    shown: Report, width: int, verbose: bool
) -> None:
    """Commands stay whole, to be copied."""
    for line in as_text(shown, width=width, verbose=verbose).splitlines():
        assert len(line) <= width or line.startswith("  do: ")


def test_colours_repeat_what_the_words_say() -> None:
    plain = [text for _, text in lines(BROKEN, 80)]
    told = [coloured(line) for line in lines(BROKEN, 80)]

    assert "\n".join(plain) + "\n" == as_text(BROKEN)
    assert any("\x1b[31m" in line for line in told)
    assert not any("\x1b" in line for line in plain)


def test_nothing_in_it_moves_the_cursor() -> None:
    """A file name, or what a program printed, may hold anything."""
    text = as_text(HOSTILE, verbose=True)
    assert not {letter for letter in text if ord(letter) < 32 and letter != "\n"}
    assert "\\x1b" in text
    text.encode("utf-8")


def test_few_reasons_are_told() -> None:
    """Those that leave most unproven; the others are counted, and told on request."""
    outcomes = tuple(
        Outcome(check=f"c{i}-{j}", claim="c", verdict="unproven", detail=f"reason {i}")
        for i in range(8)
        for j in range(i + 1)
    )
    text = as_text(replace(ASKED, asked=(), outcomes=outcomes))
    told = [line.split(":")[0] for line in text.splitlines() if line.startswith("  reason")]
    assert told == [f"  reason {i}" for i in (7, 6, 5, 4, 3)]
    assert "\n  and 6 checks more, each for its own reason (-v)\n" in text
    assert "reason 0" in as_text(replace(ASKED, asked=(), outcomes=outcomes), verbose=True)


def test_a_reason_that_is_too_long_is_cut() -> None:
    long = Outcome(check="odd", claim="c", verdict="unproven", detail="because " * 30)
    text = as_text(replace(ASKED, asked=(), outcomes=(long,)))
    assert any(line.endswith(" …") and len(line) <= 80 for line in text.splitlines())


def test_a_long_value_is_wrapped_under_itself() -> None:
    """The label column stays free."""
    long = Report(subject="x", prefix="", level="static", outcomes=(), proven={"GPU": "word " * 30})
    assert as_text(long, width=60).splitlines()[-1].startswith("       word")


def test_the_place_is_told_once() -> None:
    """A prefix that was named by its path heads the report already."""
    assert as_text(replace(HEALTHY, subject="/p", prefix="/p")).count("/p\n") == 0
