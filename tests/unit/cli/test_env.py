"""`envforge env`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.command_line import Run
from fakes.workplace import NAME, make_environment, workplace_of

from envforge.adapters.process import RealProcesses
from envforge.forge import Forge
from envforge.formats.conda.conda_meta import MARKER


@pytest.fixture
def prefix(forge: Forge) -> Path:
    """Installed, where programs can be started."""
    make_environment(forge)
    place = forge.install("p").prefix
    workplace_of(forge).__dict__["processes"] = RealProcesses()
    return place


def state(prefix: Path) -> Any:
    return json.loads((prefix / "conda-meta" / "state").read_text())["env_vars"]


def test_each_variable_has_value_reason_and_source(run: Run, prefix: Path) -> None:
    done = run("env", "p", "--json")
    rows = {row["name"]: row for row in done.json["variables"]}

    assert done.status == 0
    assert done.json["schema"] == "envforge.env/1"
    assert rows["PYTHONNOUSERSITE"]["value"] == "1"
    assert rows["PYTHONNOUSERSITE"]["source"] == "envforge's preset"
    assert rows["TRITON_CACHE_DIR"]["value"].endswith("/triton")
    assert all(row["why"] and row["source"] and row["documented"] for row in rows.values())
    assert done.json["changed"] == []


def test_what_the_machine_sets_goes_by_what_is_declared(
    run: Run, prefix: Path, tmp_path: Path
) -> None:
    """As in the order in which all of it is set."""
    declared = {"ENVFORGE_CACHE": str(tmp_path / "declared"), "CUDA_CACHE_PATH": "/declared"}
    path = prefix / "conda-meta" / "state"
    path.write_text(json.dumps({"env_vars": {**state(prefix), **declared}}))
    rows = {row["name"]: row for row in run("env", "p", "--json").json["variables"]}

    assert rows["TRITON_CACHE_DIR"]["value"].startswith(declared["ENVFORGE_CACHE"])
    assert rows["TRITON_CACHE_DIR"]["source"] == "this machine and user"
    assert rows["CUDA_CACHE_PATH"]["value"] == "/declared"
    assert rows["CUDA_CACHE_PATH"]["source"] == "conda env config vars"
    assert "CUDA_CACHE_MAXSIZE" not in rows


def test_a_choice_is_written_and_stays(run: Run, forge: Forge, prefix: Path) -> None:
    done = run("env", "p", "--allocator", "expandable", "--deterministic", "--threads", "3")

    assert done.status == 0
    assert "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True" in done.out
    assert "conda-meta/state" in done.out
    written = state(prefix)
    assert written["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert written["OMP_NUM_THREADS"] == "3"
    forge.install("p")
    assert state(prefix) == written
    assert run("env", "p", "--json").json["choices"] == {
        "allocator": "expandable",
        "deterministic": True,
        "threads": "3",
    }
    run("env", "p", "--allocator", "default", "--no-deterministic", "--threads", "auto")
    assert state(prefix) == {"PYTHONNOUSERSITE": "1"}


def test_a_dry_run_writes_nothing(run: Run, prefix: Path) -> None:
    before = state(prefix)
    done = run("env", "p", "--deterministic", "--dry-run")

    assert "PYTHONHASHSEED=0" in done.out
    assert "would be written" in done.out
    assert state(prefix) == before


def test_what_somebody_set_is_left_alone_and_said(run: Run, prefix: Path) -> None:
    path = prefix / "conda-meta" / "state"
    path.write_text(json.dumps({"env_vars": {**state(prefix), "PYTHONHASHSEED": "7"}}))
    done = run("env", "p", "--deterministic")

    assert state(prefix)["PYTHONHASHSEED"] == "7"
    assert "PYTHONHASHSEED was set otherwise before" in done.out
    rows = {row["name"]: row for row in run("env", "p", "--json").json["variables"]}
    assert rows["PYTHONHASHSEED"]["source"] == "conda env config vars"


def test_no_line_is_longer_than_a_screen_but_for_values(run: Run, prefix: Path) -> None:
    out = run("env", "p").out
    assert [line for line in out.splitlines() if len(line) > 80 and "=" not in line] == []


@pytest.mark.parametrize(
    "wrong", [("--threads", "many"), ("--allocator", "odd"), ("--threads", "0")]
)
def test_no_such_choice(run: Run, prefix: Path, wrong: tuple[str, str]) -> None:
    before = state(prefix)
    assert run("env", "p", *wrong).status == 2
    assert state(prefix) == before


def test_what_is_not_installed_has_no_variables(run: Run, forge: Forge) -> None:
    make_environment(forge)
    done = run("env", "p")
    assert (done.status, done.out) == (5, "")
    assert f"`envforge install {NAME}`" in done.err


def test_an_environment_of_others_is_not_written_to(run: Run, forge: Forge, prefix: Path) -> None:
    """Only explained."""
    (prefix / "conda-meta" / MARKER).unlink()
    (prefix / "conda-meta" / "history").write_text("")
    assert run("env", "p", "--prefix", str(prefix)).status == 0
    done = run("env", "p", "--prefix", str(prefix), "--deterministic")
    assert done.status == 5
    assert "conda env config vars" in done.err


def test_an_allocator_that_went_with_its_torch_is_dropped_aloud(
    run: Run, forge: Forge, prefix: Path
) -> None:
    run("env", "p", "--allocator", "expandable")
    version = next(prefix.glob("lib/python3*/site-packages/torch/version.py"))
    version.write_text("__version__ = '2.0.1'\ncuda = '11.8'\n")
    forge.install("p")

    assert "PYTORCH_CUDA_ALLOC_CONF" not in state(prefix)
    reporter = workplace_of(forge).reporter
    assert any("is not kept" in text for text in reporter.warnings)
