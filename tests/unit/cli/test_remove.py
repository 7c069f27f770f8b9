"""`envforge remove`."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.command_line import Run
from fakes.workplace import NAME, make_environment

from envforge.forge import Forge


@pytest.fixture
def prefix(forge: Forge) -> Path:
    """Of an installed environment."""
    make_environment(forge)
    return forge.install("p").prefix


def test_it_asks_first(run: Run, forge: Forge, prefix: Path) -> None:
    """The question goes to stderr; the answer is all of stdout."""
    no = run("remove", "p", stdin="n\n")
    assert (no.status, no.out.splitlines()[-1]) == (0, "nothing was removed")
    assert no.err.startswith(f"remove {prefix}\nRemove? [y/N]")
    assert prefix.exists()
    yes = run("remove", "p", stdin="y\n")

    assert (yes.status, yes.out.splitlines()[-1]) == (0, "removed p")
    assert not prefix.exists()
    assert (forge.settings.envs_folder / NAME).exists()
    assert run("remove", "p").out == "nothing is installed for p\n"


def test_nobody_to_ask_is_no_yes(run: Run, prefix: Path) -> None:
    done = run("remove", "p", stdin="")

    assert "removed p" not in done.out
    assert prefix.exists()


def test_yes_and_the_folder(run: Run, forge: Forge, prefix: Path) -> None:
    folder = forge.settings.envs_folder / NAME
    planned = run("remove", "p", "--folder", "--dry-run")
    assert planned.out == f"would remove {prefix}\nwould remove {folder}\n"
    assert folder.exists()
    assert run("remove", "p", "--folder", "--yes").status == 0
    assert not prefix.exists()
    assert not folder.exists()


def test_what_is_not_ours_stays(run: Run, forge: Forge, prefix: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    (foreign / "conda-meta").mkdir(parents=True)
    (foreign / "conda-meta" / "history").write_text("")
    done = run("remove", "p", "--prefix", str(foreign), "--yes")

    assert done.status == 5
    assert "conda env remove" in done.err
    assert foreign.exists()
