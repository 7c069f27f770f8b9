"""`bench` with a real torch, and from the command line.

`ENVFORGE_TEST_TORCH_PYTHON` names an interpreter with a CPU build of torch; what it measures is
not judged here, machines of tests are too busy. Everything else is asked of an interpreter that
computes nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes.bench_interpreter import bench_interpreter
from fakes.bench_results import result
from fakes.cuda_on_cpu import interpreter
from fakes.stub_driver import H200, stub_driver
from fakes.workplace import fake_forge

from envforge.adapters import plot
from envforge.around.bench import bench_file
from envforge.cli import cli
from envforge.forge import Forge
from envforge.forge.benching import sides


def torch_python() -> str:
    python = os.environ.get("ENVFORGE_TEST_TORCH_PYTHON")
    if not python:
        pytest.skip("ENVFORGE_TEST_TORCH_PYTHON names no interpreter with torch")
    return python


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["bench", *map(str, words)], catch_exceptions=False)


def document(done: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- real torch -----------------------------------------------------------------------------


def test_every_case_runs_on_torch(tmp_path: Path) -> None:
    """Cold starts with their stages, latency and throughput; nothing fails, nothing is guessed."""
    result = Forge(overrides={"cache": tmp_path}).bench(
        python=torch_python(), size="tiny", modes=["eager"], threads=1, device="cpu", rounds=2
    )

    assert [item.why_not for item in result.side.series] == [""] * 6
    for series in result.side.series:
        assert series.waits == "barrier"
        assert series.spread is not None
        assert 0 < series.spread.median <= series.spread.p99
    assert [*result.side.starts[0]] == ["interpreter", "import", "load", "call"]
    assert result.side.facts["threads"] == 1
    assert result.side.facts["torch"]
    left = {path.suffix for path in tmp_path.glob("bench/*")}
    assert left <= {".json"}, "weights and caches are gone; a result may be kept"


@pytest.mark.slow
def test_compiled_is_what_eager_is(tmp_path: Path) -> None:
    """Where a compiler is; else it says which is missing."""
    result = Forge(overrides={"cache": tmp_path}).bench(
        python=torch_python(), size="tiny", cases=["encoder"], threads=1, device="cpu", rounds=2
    )
    eager, compiled = result.side.series

    assert not compiled.failed, compiled.why_not
    if compiled.rounds:
        assert compiled.result == pytest.approx(eager.result, rel=0.01)
        assert not any("something else" in note for note in result.notes)


def test_a_gpu_is_timed_by_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On tensors that lie on the CPU (`fakes.cuda_on_cpu`): what is asked of torch is real."""
    python = interpreter(torch_python(), tmp_path / "env")
    for name, value in stub_driver(gpus=[H200]).items():
        monkeypatch.setenv(name, value)
    result = Forge(overrides={"cache": tmp_path / "cache"}).bench(
        python=str(python), size="tiny", cases=["cold-start", "matmul"], rounds=2
    )

    assert [item.why_not for item in result.side.series] == ["", ""]
    assert {item.waits for item in result.side.series} == {"cuda-events"}
    assert result.side.facts["gpu"] == H200[0]
    assert result.side.series[1].dtype == "bfloat16"
    assert "context" in result.side.starts[0]


# --- the command ----------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENVFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_slower_environment_is_found(home: Path) -> None:
    """15 % on every call; a comparison is an answer, so the status is 0."""
    slow, quick = (
        bench_interpreter(home / name, seconds=s) for name, s in (("a", 0.23), ("b", 0.2))
    )
    done = run("--prefix", slow.parents[1], "--against-python", quick, "--case", "matmul")

    assert done.exit_code == 0, done.output
    assert "slower" in done.stdout
    assert "+15." in done.stdout or "+14." in done.stdout


def test_a_regression_fails(home: Path) -> None:
    """With the baseline of an hour ago."""
    quick, slow = (
        bench_interpreter(home / name, seconds=s) for name, s in (("a", 0.2), ("b", 0.25))
    )
    saved = home / "baseline.json"
    first = run("--python", quick, "--case", "matmul", "--save", saved)
    same = run("--python", quick, "--case", "matmul", "--baseline", saved, "--json")
    done = run("--python", slow, "--case", "matmul", "--baseline", saved, "--json")

    assert (first.exit_code, same.exit_code, done.exit_code) == (0, 0, 1)
    assert document(same)["comparisons"][0]["verdict"] == "same"
    [found] = document(done)["comparisons"]
    assert (found["verdict"], found["paired"]) == ("slower", False)
    assert found["ratio"] == pytest.approx(1.25, rel=0.02)


def test_a_baseline_of_another_machine_is_refused_at_once(home: Path) -> None:
    here = bench_interpreter(home / "a")
    other = bench_interpreter(home / "b", facts={"cpus": 64})
    saved = home / "baseline.json"
    run("--python", other, "--case", "matmul", "--save", saved)
    done = run("--python", here, "--case", "matmul", "--baseline", saved)

    assert done.exit_code == 2
    assert "cpus 64 then, 8 now" in done.output


@pytest.mark.parametrize("option", ["--save", "--plot"])
def test_what_could_not_be_written_is_told_before_anything_is_measured(
    home: Path, option: str
) -> None:
    (home / "file").touch()
    python = bench_interpreter(home / "a")
    done = run("--python", python, "--case", "matmul", option, home / "file" / "x.svg")

    assert done.exit_code == 7
    assert "file/x.svg`: " in done.output
    assert "warming up" not in done.output


def test_without_matplotlib_nothing_is_measured_for_a_plot(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plot, "find_spec", lambda _: None)
    python = bench_interpreter(home / "a")
    done = run("--python", python, "--case", "matmul", "--plot", home / "x.svg")

    assert done.exit_code == 7
    assert "hint: `pip install 'envforge[plot]'`" in done.output
    assert "warming up" not in done.output


def test_without_torch_it_is_told_how_to_look(home: Path) -> None:
    python = bench_interpreter(home / "a", no_torch=True)
    done = run("--python", python, "--case", "matmul")

    assert done.exit_code == 7
    assert "no torch" in done.output
    assert f"hint: it has to import torch; `envforge verify --python {python}`" in done.output


def test_a_case_that_fails_is_a_problem(home: Path) -> None:
    python = bench_interpreter(home / "a", fails=["matmul"])
    done = run("--python", python, "--case", "matmul", "--case", "bandwidth", "--json")

    assert done.exit_code == 1
    matmul, copy = document(done)["side"]["cells"]
    assert (matmul["failed"], matmul["why_not"]) == (True, "RuntimeError: out of memory")
    assert copy["spread"]["median"] > 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "is not named"),
        (["nowhere"], "no environment `nowhere`"),
        (["--python", "/nowhere/python"], "/nowhere/python"),
        (["--python", "python3", "--threshold", "0"], "threshold `0.0` makes no sense"),
        (["--python", "python3", "--batch", "0"], "batch `0` makes no sense"),
        (["--python", "python3", "--rounds", "1"], "number of rounds `1` makes no sense"),
        (["--python", "python3", "--time-limit", "inf"], "time limit"),
        (["--python", "python3", "--plot", "a.pdf"], "suffix"),
        (["--python", "python3", "--baseline", "no.json"], "no.json"),
        (["--python", "python3", "--load-from", "no"], "no such file"),
        (["--python", "python3", "--against", "x", "--against-python", "y"], "second side"),
    ],
)
def test_what_makes_no_sense_is_refused(home: Path, words: list[str], expected: str) -> None:
    done = run(*words)

    assert done.exit_code in {2, 7}, done.output
    assert expected in done.output


def test_the_last_result_of_an_environment_is_kept(home: Path) -> None:
    """For `report`; one that cannot be read is none."""
    forge = Forge(overrides={"cache": home / "cache"})
    assert forge.last_bench("p-torch27-cpu") is None

    kept = home / "cache" / "bench" / "p-torch27-cpu.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(bench_file.write(result()))
    found = forge.last_bench("p-torch27-cpu")
    assert found is not None
    assert found.side.name == "p-torch27-cpu"
    kept.write_text("{}")
    assert forge.last_bench("p-torch27-cpu") is None


def test_an_environment_is_known_by_its_lock(tmp_path: Path) -> None:
    """What was measured is kept under its name, with the digest of what was installed."""
    forge = fake_forge(tmp_path)
    created = forge.create("p", torch="2.7.1", cuda="cpu")
    prefix = created.install.prefix if created.install else tmp_path
    python = bench_interpreter(tmp_path / "stand-in")
    program = prefix / "bin" / "python"
    program.unlink(missing_ok=True)
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
    program.chmod(0o755)
    found = sides.find(forge._workplace, created.lock.name, None, None)

    assert found.name == "p-torch27-cpu"
    assert found.interpreter == program
    assert len(found.lock) == 64
    assert found.variables["CONDA_PREFIX"] == str(prefix)
