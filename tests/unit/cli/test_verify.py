"""`envforge verify`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.command_line import Run
from fakes.workplace import NAME, make_environment

from envforge.forge import Forge


@pytest.fixture(autouse=True)
def _environment(forge: Forge) -> None:
    make_environment(forge)
    forge.install("p")


def test_one_that_works_and_one_that_is_not_there(run: Run, forge: Forge) -> None:
    make_environment(forge, "q")
    good = run("verify", "p")
    assert good.status == 0
    assert good.out.startswith(f"{NAME}: ok (")
    bad = run("verify", "q", "--level", "static")

    assert bad.status == 1
    assert bad.out.startswith("q-torch27-cu126: NOT OK (")
    assert "  do: envforge install q-torch27-cu126\n" in bad.out


def test_all_that_are_installed(run: Run, forge: Forge) -> None:
    make_environment(forge, "q")
    forge.install("q")
    document = run("verify", "--json", "--level", "static").json

    assert document["schema"] == "envforge.verify/1"
    assert [item["subject"] for item in document["reports"]] == [NAME, "q-torch27-cu126"]


def test_options_reach_the_checks(run: Run, forge: Forge) -> None:
    document = run("verify", "p", "--check", "driver-too-old", "--require-gpu", "--json").json
    [report] = document["reports"]
    assert [item["check"] for item in report["outcomes"]] == ["driver-too-old"]
    assert report["require_gpu"] is True
    skipped = run("verify", "p", "--skip", "driver-too-old", "--level", "static", "--json").json
    checks = [item["check"] for item in skipped["reports"][0]["outcomes"]]
    assert "driver-too-old" not in checks
    assert run("verify", "--prefix", str(forge.settings.prefixes)).status == 2
    assert run("verify", "p", "--check", "").status == 2
    assert run("verify", "p", "--check", "nope").status == 2


def test_help_shows_that_env_may_be_left_out(run: Run) -> None:
    assert "[ENV]" in run("verify", "--help").out
    assert "[ENV]" not in run("show", "--help").out


def test_the_table_of_checks(run: Run) -> None:
    done = run("verify", "--list")
    assert done.status == 0
    assert any(line.startswith("driver-too-old ") for line in done.out.splitlines())
    assert run("verify", "--list", "--json").json["schema"] == "envforge.checks/1"


def test_ids_may_stand_in_one_list(run: Run) -> None:
    """Repeated, or with commas."""
    words = ("verify", "p", "--json", "--level", "static")
    both = run(*words, "--check", "driver-too-old,lock-drift", "--check", "torch-missing").json
    told = [item["check"] for item in both["reports"][0]["outcomes"]]
    assert sorted(told) == ["driver-too-old", "lock-drift", "torch-missing"]
    less = run(*words, "--skip", "driver-too-old, lock-drift").json
    told = {item["check"] for item in less["reports"][0]["outcomes"]}
    assert not told & {"driver-too-old", "lock-drift"}


def test_a_check_that_was_asked_for_must_answer(run: Run) -> None:
    """No GPU here: it cannot look."""
    done = run("verify", "p", "--check", "gpu-kernel-fails")
    assert done.status == 1
    assert "error: the check `gpu-kernel-fails` could not look: " in done.out
    assert run("verify", "p", "--check", "lock-drift").status == 0


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("--host",), "host"),
        (("--lock", "{lock}"), "lock"),
        (("--lock", "{lock}", "--driver", "570.124.06", "--gpu", "H200"), "lock"),
        (("--prefix", "{prefix}", "--level", "static"), "environment"),
    ],
)
def test_subjects(run: Run, forge: Forge, words: tuple[str, ...], kind: str) -> None:
    places = {
        "lock": str(forge.settings.envs_folder / NAME / "conda-lock.yml"),
        "prefix": str(forge.settings.prefixes / NAME),
    }
    done = run("verify", "--json", *(word.format(**places) for word in words))
    assert done.status == 0, done.out
    assert done.json["reports"][0]["kind"] == kind


def test_contradictions_are_told(run: Run) -> None:
    done = run("verify", "p", "--host")
    assert (done.status, "is the machine alone, and ENV was named" in done.err) == (2, True)
    done = run("verify", "p", "--json", "--report")
    assert (done.status, done.json["error"]["code"]) == (2, "usage")
    assert run("verify", "p", "--timeout", "nan").status == 2


def test_a_file_gets_the_answer(run: Run, tmp_path: Path) -> None:
    words = ("verify", "p", "--level", "static")
    for form in ((), ("--json",)):
        done = run(*words, *form, "--output", str(tmp_path / "answer"), color=True)
        assert done.out == ""
        assert (tmp_path / "answer").read_text().rstrip("\n") == run(*words, *form).out.rstrip("\n")
    done = run(*words, "--output", str(tmp_path))
    assert (done.status, "it is a directory" in done.err) == (7, True)


def test_junit_goes_to_a_file_beside_the_answer(run: Run, tmp_path: Path) -> None:
    done = run("verify", "p", "--level", "static", "--junit", str(tmp_path / "junit.xml"))
    assert done.out.startswith(f"{NAME}: ok (")
    assert '<testcase name="driver-too-old"' in (tmp_path / "junit.xml").read_text()


def test_annotations_for_github(
    run: Run, forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Around the text, or beside JSON that must stay JSON; and a summary where one is wanted."""
    (forge.settings.prefixes / NAME / "bin" / "python").unlink()
    words = ("verify", "p", "--level", "static", "--github")
    done = run(*words)
    assert done.status == 1
    first, *_, last = done.out.splitlines()
    assert first.startswith("::stop-commands::")
    assert last.startswith(f"::error title={NAME}%3A python-missing::")
    done = run(*words, "--json")
    assert done.json["passed"] is False
    assert "::error title=" in done.err
    summary = tmp_path / "summary"
    settings = replace(forge.settings, environment={"GITHUB_STEP_SUMMARY": str(summary)})
    monkeypatch.setattr(forge._workplace, "settings", settings)
    run(*words)
    assert "| error | python-missing |" in summary.read_text()


def test_a_text_for_a_bug_report(run: Run, forge: Forge, tmp_path: Path) -> None:
    """Without the person in it."""
    done = run("verify", "p", "--level", "static", "--report")
    assert done.out.startswith("```text\nenvforge: ")
    assert done.out.rstrip().endswith("```")
    assert "kernel: " in done.out
    assert str(forge.settings.home) not in done.out


def test_more_is_told_on_request(run: Run) -> None:
    assert "\npassed\n" in run("verify", "p", "--level", "static", "-v").out
    assert "\npassed\n" not in run("verify", "p", "--level", "static").out
