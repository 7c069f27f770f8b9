"""`envforge lock`."""

from __future__ import annotations

from fakes.command_line import Run
from fakes.workplace import NAME, make_environment

from envforge.forge import Forge

ASKED = ("lock", "p", "--torch", "2.7.1", "--cuda", "12.6", "--python", "3.10")


def test_a_request_writes_the_folder(run: Run, forge: Forge) -> None:
    folder = forge.settings.envs_folder / NAME
    assert run(*ASKED, "--dry-run").out.startswith(f"would lock {folder}: 3 packages for linux-64")
    assert not folder.exists()
    assert run(*ASKED).out.startswith(f"locked {folder}: ")
    assert run(*ASKED).out.startswith(f"unchanged {folder}: ")
    assert not forge.settings.prefixes.exists()


def test_an_environment_is_locked_again(run: Run, forge: Forge) -> None:
    path = make_environment(forge) / "environment.yml"
    path.write_text(f"{path.read_text().rstrip()}\n  - numpy\n")

    assert run("lock", NAME).out.startswith("locked ")
    assert run("lock", "p").out.startswith("unchanged ")
    refused = run("lock", "p", "--with", "numpy")
    assert refused.status == 2
    assert "option `--with` needs `--torch` or `--cuda`" in refused.err


def test_json(run: Run, forge: Forge) -> None:
    made = run(*ASKED, "--json").json

    assert made["schema"] == "envforge.lock/1"
    assert made["outcome"] == "written"
    assert made["target"]["cuda"] == "12.6"
    assert made["packages"] == {"linux-64": 3}
    assert made["files"] == ["environment.yml", "virtual-packages.yml", "conda-lock.yml"]
    kept = run(*ASKED, "--json").json
    assert (kept["outcome"], kept["files"]) == ("unchanged", [])


def test_another_request_is_refused_with_the_difference(run: Run, forge: Forge) -> None:
    make_environment(forge)
    done = run(*ASKED, "--with", "numpy")

    assert done.status == 2
    assert "  packages: none, now numpy\n" in done.err
    assert "`--force`" in done.err
    assert run(*ASKED, "--with", "numpy", "--force").status == 0
