"""`envforge report`."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.command_line import Run
from fakes.overviews import bench_result
from fakes.workplace import NAME, make_environment

from envforge.around.bench import bench_file
from envforge.forge import Forge


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_answer_is_the_page(run: Run, forge: Forge, tmp_path: Path) -> None:
    make_environment(forge)
    done = run("report")

    assert done.status == 0
    assert done.out == "envforge-report/index.html\n"
    assert done.err == "1 environment, 0 ready\n"
    assert NAME in (tmp_path / "envforge-report" / "index.html").read_text()


def test_trouble_is_counted(run: Run, forge: Forge) -> None:
    make_environment(forge)
    (make_environment(forge, "q") / "environment.yml").write_text("- not a mapping\n")
    assert run("report").err == "2 environments, 0 ready; 1 wants a look\n"


def test_what_was_verified_is_remembered(run: Run, forge: Forge) -> None:
    make_environment(forge)
    forge.install("p")
    run("verify", NAME)
    document = run("report", "--json").json

    assert document["schema"] == "envforge.report/1"
    assert document["page"] == "envforge-report/index.html"
    [row] = document["verified"]
    assert row["name"] == NAME
    assert row["level"] == "import"
    assert row["at"]
    [environment] = document["environments"]
    assert environment["state"]["text"] == "ready"
    assert environment["verified_at"] == row["at"]


def test_an_answer_from_elsewhere_counts_instead(run: Run, forge: Forge) -> None:
    make_environment(forge)
    forge.install("p")
    Path("v.json").write_text(run("verify", NAME, "--json").out)
    [row] = run("report", "--json", "--verify", "v.json").json["verified"]
    assert (row["name"], row["at"]) == (NAME, "")


def test_part_of_the_checks_is_no_verification(run: Run, forge: Forge) -> None:
    make_environment(forge)
    forge.install("p")
    run("verify", NAME, "--check", "lock-drift")
    run("verify", NAME, "--driver", "535.104.05")
    assert run("report", "--json").json["verified"] == []


def test_benchmarks(run: Run, forge: Forge) -> None:
    Path("b.json").write_text(bench_file.write(bench_result()))
    rows = run("report", "--json", "--bench", "b.json").json["benchmarks"]
    assert [row["verdict"]["text"] for row in rows[:3]] == ["22% slower", "22% slower", "same"]


@pytest.mark.parametrize("option", ["--verify", "--bench"])
def test_a_file_that_is_neither(run: Run, forge: Forge, option: str) -> None:
    Path("x.json").write_text("{}")
    done = run("report", option, "x.json")
    assert done.status == 2
    assert "x.json" in done.err
    assert not Path("envforge-report").exists()


def test_a_page_of_somebody_else_is_refused(run: Run, forge: Forge) -> None:
    Path("index.html").write_text("mine")
    done = run("report", "-o", ".")
    assert done.status == 2
    assert "--force" in done.err
    assert run("report", "-o", ".", "--force").status == 0
