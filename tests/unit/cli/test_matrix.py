"""`envforge matrix`: the table, its marks, JSON, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from envforge.cli import cli, matrix, options
from envforge.cli.rendering import render_matrix
from envforge.matrix import grid, load
from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.machine import Driver, Gpu, Machine


def run(*arguments: str, width: int = 80, charset: str = "utf-8", **env: str) -> Result:
    runner = CliRunner(charset=charset, env={"COLUMNS": str(width), **env})
    return runner.invoke(cli, ["matrix", *arguments])


def test_the_table_fits_80_columns_and_has_a_legend() -> None:
    result = run("--driver", "535.104.05", "--gpu", "H200")
    assert result.exit_code == 0
    assert max(len(line) for line in result.output.splitlines()) <= 80
    lines = [line.split() for line in result.output.splitlines()]
    [row] = [line for line in lines if line[:1] == ["2.11"]]
    assert row == ["2.11", "✓cw", "·", "·", "·", "~w", "~w", "~c", "✗cw", "·"]
    assert "✓ runs" in result.output
    assert "~ runs by minor-version compatibility" in result.output
    assert "✗ published, does not run on this machine" in result.output
    assert "CUDA 13.0-13.2: driver 535.104.05 is too old, 580 is needed" in result.output
    assert "p pytorch channel, c conda-forge, w wheels" in result.output
    assert "not recorded: what conda-forge has of torch 2.15 and 2.14" in result.output
    assert "\x1b" not in result.output


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_every_build_is_shown_once_at_any_width(width: int) -> None:
    result = run(width=width)
    shown = grid(load(), None)
    headers: list[str] = []
    marks, width_of_block = 0, 0
    for words in (line.split() for line in result.output.splitlines()):
        if words[:2] == ["torch", "cpu"]:
            headers += words[2:]
            width_of_block = len(words)
        elif words and words[0] in shown.torches and len(words) == width_of_block:
            marks += sum(word.startswith("●") for word in words[2:])
    assert sorted(headers) == sorted(str(cuda) for cuda in shown.cudas if cuda)
    assert marks == sum(bool(cell.carried) for cell in shown.cells.values() if cell.cuda)


def test_ascii_where_the_output_cannot_carry_more() -> None:
    result = run("--torch", "2.0.1", charset="ascii")
    assert result.exit_code == 0
    assert "opw" in result.output
    assert result.output.isascii()


def test_colour_on_a_terminal_and_none_with_no_color() -> None:
    machine = ("--driver", "535.104.05", "--torch", "2.5.1")
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert "\x1b[" in run(*machine, **terminal, NO_COLOR="").output
    plain = run(*machine, **terminal, NO_COLOR="1").output
    assert "\x1b[32" not in plain
    assert "\x1b[33" not in plain


def test_filters() -> None:
    assert "2.0.0 ●c" in " ".join(run("--torch", "2.0", "--cuda", "cu120").output.split())
    assert "torch cpu" in " ".join(run("--cuda", "CPU").output.split())
    assert "for Python 3.12" in run("--torch", "2.1", "--python", "3.12").output
    mac = run("--platform", "osx-arm64", "--torch", "2.7").output
    assert "torch by CUDA on osx-arm64" in mac
    assert "2.7.1 ●cw" in mac


class Probe:
    def look(self) -> Machine:
        h200 = Gpu(name="NVIDIA H200", capability=ComputeCapability(9, 0))
        driver = Driver(version="570.124.06", cuda=CudaVersion(12, 8))
        return Machine(driver=driver, gpus=(h200, h200))


class FakeForge:
    probe = Probe()


@pytest.mark.parametrize("arguments", [("--here",), ("--cuda", "auto")])
def test_this_machine(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "make_forge", lambda *_: FakeForge())
    result = run(*arguments, "--torch", "2.10.0")
    assert result.exit_code == 0
    assert "driver 570.124.06 and NVIDIA H200 (9.0)" in result.output
    assert "12.9" in result.output


def test_a_machine_without_a_driver() -> None:
    class Bare:
        def look(self) -> Machine:
            return Machine()

    shown = matrix.run(Bare, torch="2.5.1", here=True)
    assert render_matrix.title(shown).endswith("judged by a machine without an NVIDIA driver")


def test_json_is_versioned_and_complete() -> None:
    result = run("--driver", "535.104.05", "--gpu", "H200", "--torch", "2.5", "--json")
    document: dict[str, Any] = json.loads(result.output)
    assert document["schema"] == "envforge.matrix/1"
    assert document["machine"] == {
        "origin": "described",
        "driver": "535.104.05",
        "gpus": [{"name": "H200", "capability": "9.0"}],
    }
    assert document["torch"] == ["2.5.1", "2.5.0"]
    assert len(document["cells"]) == len(document["torch"]) * len(document["cuda"])
    by_key = {(cell["torch"], cell["cuda"]): cell for cell in document["cells"]}
    cell = by_key["2.5.1", "12.4"]
    assert cell["state"] == "minor-version"
    assert [build["source"] for build in cell["builds"]] == ["pytorch", "wheels"]
    assert "3.12" in cell["builds"][0]["pythons"]
    assert by_key["2.5.0", "12.6"]["state"] == "absent"
    plain = json.loads(run("--torch", "2.5", "--json").output)
    assert plain["machine"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--torch", "2"), "major version only"),
        (("--torch", "2.0.7"), "the newest is 2.15.0"),
        (("--cuda", "12"), "not of the form 11.8"),
        (("--driver", "x"), "535.104.05"),
        (("--gpu", "H2000"), "`H200`"),
        (("--here", "--gpu", "H200"), "--here is this machine"),
        (("--plot", "x.pdf"), "neither .svg nor .png"),
        (("--python", "3"), "3.11"),
    ],
)
def test_wrong_input_ends_with_2_and_says_what_to_do(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert not list(tmp_path.iterdir())


def test_plot_comes_with_the_table(tmp_path: Path) -> None:
    result = run("--torch", "2.0", "--plot", str(tmp_path / "m.svg"))
    assert result.exit_code == 0
    assert (tmp_path / "m.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert "2.0.1" in result.output
