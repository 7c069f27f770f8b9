"""`envforge install`."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.command_line import Run
from fakes.workplace import NAME, FixedProbe, make_environment, workplace_of

from envforge.forge import Forge
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Driver, Machine


@pytest.fixture
def folder(forge: Forge) -> Path:
    return make_environment(forge)


@pytest.mark.usefixtures("folder")
def test_from_nothing_to_as_locked(run: Run, forge: Forge) -> None:
    prefix = forge.settings.prefixes / NAME
    plan = run("install", "p", "--dry-run")
    assert plan.out.startswith(f"would install into {prefix} (absent)\n")
    assert not prefix.exists()
    assert run("install", "p").out.startswith(f"installed {prefix}: 3 changes, ")
    assert run("install", "p").out == f"as locked {prefix}: 3 packages\n"
    done = run("install", "p", "--dry-run")
    assert "  nothing to do: 3 packages are as locked\n" in done.out


@pytest.mark.usefixtures("folder")
def test_json(run: Run) -> None:
    planned = run("install", "p", "--dry-run", "--json").json
    assert (planned["schema"], planned["dry_run"]) == ("envforge.install/1", True)
    made = run("install", "p", "--json").json

    assert made["schema"] == "envforge.install/1"
    assert made["link_mode"] == "hardlink"
    assert len(made["plan"]["add"]) == 3


def test_locked_never_solves(run: Run, folder: Path) -> None:
    """What CI uses."""
    path = folder / "environment.yml"
    path.write_text(f"{path.read_text().rstrip()}\n  - numpy\n")
    done = run("install", "p", "--locked")

    assert done.status == 4
    assert "`numpy` is not in the lock" in done.err
    assert f"hint: `envforge lock {NAME}`, and commit the result\n" in done.err
    assert run("install", "p").status == 0
    assert run("install", "p", "--locked").status == 0


@pytest.mark.usefixtures("folder")
def test_what_cannot_run_here_is_refused_with_the_commands_that_do(run: Run, forge: Forge) -> None:
    """Exit 3, before anything is downloaded; `--force` and `--target-host` go on."""
    old = Machine(driver=Driver(version="470.82.01", cuda=CudaVersion(11, 4)))
    workplace_of(forge)._probe = FixedProbe(old)
    workplace_of(forge).__dict__.pop("probe", None)
    refused = run("install", "p")
    as_json = run("install", "p", "--dry-run", "--json")

    assert (refused.status, as_json.status) == (3, 3)
    assert "cannot run here: driver 470.82.01 is too old for CUDA 12.6" in refused.err
    assert "\n  envforge create p --torch 2.7.1 --cuda 11.8" in refused.err
    assert as_json.json["error"]["code"] == "cannot-run-here"
    assert run("install", "p", "--dry-run", "--force").status == 0
    assert run("install", "p", "--target-host").status == 0
    assert run("add", "p", "numpy").status == 3
    assert run("add", "p", "numpy", "--force").status == 0
