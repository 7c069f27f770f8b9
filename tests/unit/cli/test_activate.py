"""`envforge activate`."""

from __future__ import annotations

from fakes.command_line import Run
from fakes.workplace import NAME, make_environment

from envforge.forge import Forge


def test_nothing_but_code_is_printed(run: Run, forge: Forge) -> None:
    """It is evaluated."""
    make_environment(forge)
    forge.install("p")
    done = run("activate", "p", "--shell", "fish")

    assert (done.status, done.err) == (0, "")
    assert f"set -gx CONDA_PREFIX '{forge.settings.prefixes / NAME}'" in done.out


def test_what_is_not_installed_prints_no_code(run: Run, forge: Forge) -> None:
    make_environment(forge)
    done = run("activate", "p")

    assert (done.status, done.out) == (5, "")
    assert f"hint: `envforge install {NAME}`\n" in done.err
    assert run("activate", "p", "--shell", "tcsh").status == 2
