"""`envforge list`."""

from __future__ import annotations

from fakes.command_line import Run
from fakes.workplace import NAME, make_environment

from envforge.forge import Forge


def test_rows_fit_a_terminal(run: Run, forge: Forge) -> None:
    assert run("list").out == f"no environments in {forge.settings.envs_folder}\n"
    make_environment(forge)
    forge.install("p")
    make_environment(forge, "q")
    forge.lock("r", torch="2.7.1", cuda="cpu", python="3.10")
    done = run("list")

    assert [line.split() for line in done.out.splitlines()] == [
        ["NAME", "TORCH", "CUDA", "PYTHON", "LOCK", "INSTALLED"],
        [NAME, "2.7.1", "12.6", "3.10.14", "current", "installed"],
        ["q-torch27-cu126", "2.7.1", "12.6", "3.10.14", "current", "no"],
        ["r-torch27-cpu", "2.7.1", "cpu", "3.10.14", "current", "no"],
    ]
    assert max(map(len, done.out.splitlines())) <= 80


def test_one_that_cannot_be_read_is_a_row(run: Run, forge: Forge) -> None:
    make_environment(forge)
    (make_environment(forge, "q") / "environment.yml").write_text("- not a mapping\n")
    done = run("list")

    assert done.status == 0
    assert "q-torch27-cu126  ?      ?     ?        unreadable  environment.yml: " in done.out
    [good, bad] = run("list", "--json").json["environments"]
    assert good["problem"] is None
    assert bad["problem"].startswith("environment.yml: ")
