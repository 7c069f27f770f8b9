"""`envforge add`."""

from __future__ import annotations

import pytest
from fakes.command_line import Run
from fakes.workplace import make_environment

from envforge.forge import Forge


@pytest.fixture(autouse=True)
def _environment(forge: Forge) -> None:
    make_environment(forge)
    forge.install("p")


def test_packages_are_locked_and_installed(run: Run) -> None:
    done = run("add", "p", "numpy<2", "scikit-learn")

    assert done.status == 0
    assert done.out.startswith("locked ")
    assert "\ninstalled " in done.out
    assert ": 2 changes, " in done.out


@pytest.mark.parametrize("option", ["--no-install", "--dry-run"])
def test_it_can_stop_before_the_install(run: Run, option: str) -> None:
    done = run("add", "p", "numpy", option)

    assert done.status == 0
    assert "installed" not in done.out


def test_json(run: Run) -> None:
    planned = run("add", "p", "numpy", "--dry-run", "--json").json
    assert (planned["schema"], planned["outcome"]) == ("envforge.add/1", "planned")
    assert planned["install"] is None
    made = run("add", "p", "numpy", "--json").json

    assert made["outcome"] == "written"
    assert made["install"]["plan"]["add"] == ["numpy 2.2.6 h0_0"]


def test_what_does_not_solve_changes_nothing(run: Run, forge: Forge) -> None:
    before = forge.show("p")
    done = run("add", "p", "numpy=9")

    assert done.status == 4
    assert forge.show("p") == before
    assert run("add", "p").status == 2
