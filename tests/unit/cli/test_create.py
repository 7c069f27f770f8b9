"""`envforge create`."""

from __future__ import annotations

import pytest
from fakes.command_line import Run
from fakes.workplace import NAME, workplace_of

from envforge.forge import Forge

ASKED = ("create", "p", "--torch", "2.7.1", "--cuda", "cu126", "--python", "3.10")


def test_everything_that_was_done_and_what_to_type_next(run: Run, forge: Forge) -> None:
    done = run(*ASKED)
    lines = done.out.splitlines()
    prefix = forge.settings.prefixes / NAME

    assert done.status == 0
    assert lines[:4] == [
        f"locked {forge.settings.envs_folder / NAME}: 3 packages for linux-64",
        "  torch 2.7.1, CUDA 12.6, python 3.10.14, from conda-forge, driver 525.60.13+",
        f"installed {prefix}: 3 changes, hardlinked from the package cache",
        lines[3],
    ]
    assert lines[3].startswith("  3 archives fetched, byte-compiling goes on in the background, ")
    assert lines[4].startswith(f"{NAME}: ok (")
    assert lines[-1] == f"next: envforge run {NAME} -- python"


@pytest.mark.usefixtures("forge")
def test_a_dry_run_shows_the_plan(run: Run) -> None:
    done = run(*ASKED, "--dry-run")

    assert done.status == 0
    assert done.out.startswith("would lock ")
    assert "would install into " in done.out
    assert "  + pytorch 2.7.1 cuda126_generic_py310_200\n" in done.out
    assert "next:" not in done.out


def test_json_holds_every_part(run: Run, forge: Forge) -> None:
    planned = run(*ASKED, "--dry-run", "--json").json
    assert planned["schema"] == "envforge.create/1"
    assert planned["planned"]["plan"]["keep"] == 0
    assert (planned["install"], planned["verify"]) == (None, None)
    made = run(*ASKED, "--json").json

    assert made["lock"]["outcome"] == "written"
    assert made["install"]["prefix"] == str(forge.settings.prefixes / NAME)
    assert made["verify"]["passed"] is True
    assert made["planned"] is None


@pytest.mark.usefixtures("forge")
def test_a_check_that_fails_ends_with_1(run: Run) -> None:
    """The environment is there; nobody is told to use it."""
    done = run(*ASKED, "--require-gpu")

    assert done.status == 1
    assert f"{NAME}: NOT OK" in done.out
    assert "next:" not in done.out
    again = run(*ASKED, "--require-gpu", "--json")
    assert again.status == 1
    assert again.json["verify"]["passed"] is False


def test_every_option_reaches_the_request(run: Run, forge: Forge) -> None:
    done = run(
        *ASKED,
        *("--with", "numpy<2", "--with", "scikit-learn"),
        *("--source", "conda-forge", "--channel", "lab"),
        *("--platform", "linux-64", "--wheel-index", "site"),
        *("--driver", "570.124.06", "--gpu", "H200"),
        *("--engine", "rattler", "--prefix", str(forge.settings.home / "here")),
    )
    lock = (forge.settings.envs_folder / NAME / "conda-lock.yml").read_text()

    assert done.status == 0
    assert forge.show("p").prefix == forge.settings.home / "here"
    assert '"packages": ["numpy<2", "scikit-learn"]' in lock.replace("\\", "").replace("\n", " ")
    assert workplace_of(forge).conda.asked[0].channels[0].name == "lab"


@pytest.mark.usefixtures("forge")
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("create", "../x", "--torch", "2.7.1"), 2, "project name `../x`"),
        (("create", "p", "--torch", "2"), 2, "`2`"),
        (("create", "p", "--cuda", "12"), 2, "CUDA version `12`"),
        (("create", "p", "--source", "pypi"), 2, "'pypi'"),
        (("create",), 2, "Missing argument"),
        (("create", "p", "--torch", "2.7.1", "--cuda", "10.2"), 3, "envforge create p "),
        ((*ASKED, "--with", "numpy=9"), 4, "tried, and does solve:"),
    ],
)
def test_wrong_input_has_its_exit_code(
    run: Run, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = run(*arguments)

    assert done.status == status
    assert said in done.err
    assert done.out == ""
