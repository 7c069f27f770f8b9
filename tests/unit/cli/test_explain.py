"""`envforge explain`."""

from __future__ import annotations

import pytest
from fakes.command_line import Run

from envforge.forge import Forge
from envforge.verify.registry import CHECKS

ROWS = ("claim", "symptom", "cause", "remedy", "why", "source", "tested")


@pytest.mark.usefixtures("forge")
def test_everything_about_one_check(run: Run) -> None:
    done = run("explain", "driver-too-old")

    assert done.status == 0
    first, *rest = done.out.splitlines()
    assert first == "driver-too-old (error, level static)"
    assert rest[0].startswith("  claim ")
    for row in ROWS:
        assert any(line.startswith(f"  {row} ") for line in rest), row
    assert all(len(line) <= 80 for line in rest)


@pytest.mark.usefixtures("forge")
def test_several_in_the_order_asked_for(run: Run) -> None:
    done = run("explain", "lock-drift", "driver-too-old", "lock-drift")
    titles = [line for line in done.out.splitlines() if line and line[0] != " "]
    assert [title.split()[0] for title in titles] == ["lock-drift", "driver-too-old"]


def test_as_json(run: Run, forge: Forge) -> None:
    document = run("explain", "--json", *CHECKS).json
    assert document["schema"] == "envforge.explain/1"
    assert [item["check"] for item in document["checks"]] == list(CHECKS)
    tested = forge.tested_checks()
    for item in document["checks"]:
        assert item["claim"]
        assert item["tested"] == (tested.get(item["check"], "") is None)


@pytest.mark.usefixtures("forge")
def test_without_an_id_the_table(run: Run) -> None:
    assert run("explain").out == run("verify", "--list").out
    assert run("explain", "--json").json["schema"] == "envforge.checks/1"


@pytest.mark.usefixtures("forge")
def test_a_slip_is_told_with_the_nearest(run: Run) -> None:
    done = run("explain", "drivr-too-old")
    assert done.status == 2
    assert "did you mean `driver-too-old`" in done.err
