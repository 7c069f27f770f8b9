"""`envforge verify`."""

from __future__ import annotations

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
    assert run("verify", "p", "--check", "nope").status == 2


def test_help_shows_that_env_may_be_left_out(run: Run) -> None:
    assert "[ENV]" in run("verify", "--help").out
    assert "[ENV]" not in run("show", "--help").out


def test_the_table_of_checks(run: Run) -> None:
    done = run("verify", "--list")
    assert done.status == 0
    assert any(line.startswith("driver-too-old ") for line in done.out.splitlines())
    assert run("verify", "--list", "--json").json["schema"] == "envforge.checks/1"
