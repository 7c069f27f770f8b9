"""`envforge update`."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.command_line import Run
from fakes.conda_solver import package
from fakes.workplace import NAME, make_environment, workplace_of

from envforge.forge import Forge

OLD = (package("app", "1", depends=("lib",)), package("lib", "1"))
NEW = (package("app", "2", depends=("lib >=2",)), package("lib", "2"))


@pytest.fixture(autouse=True)
def folder(forge: Forge) -> Path:
    place = workplace_of(forge)
    place.conda.packages = (*place.conda.packages, *OLD)
    made = make_environment(forge, packages=("app",))
    place.conda.packages = (*place.conda.packages, *NEW)
    return made


def test_the_delta_is_shown_and_the_next_step(run: Run, folder: Path) -> None:
    done = run("update", "p", "app")
    lines = done.out.splitlines()

    assert done.status == 0
    assert lines[0] == f"{NAME} as it was -> as it is now"
    assert "  ~  app  1 -> 2" in lines
    assert lines[lines.index("because of app") + 1] == "  ~  lib  1 -> 2    (app 2 needs lib >=2)"
    assert "1 other package moved" in lines
    assert any(each.startswith(f"locked {folder}: ") for each in lines)
    assert lines[-1] == f"next: envforge install {NAME}"


def test_nothing_to_do(run: Run) -> None:
    run("update", "p")
    done = run("update", "p")

    assert done.status == 0
    assert "nothing moved" in done.out
    assert "\nunchanged " in done.out
    assert "next:" not in done.out
    assert "other package" not in done.out


def test_too_many(run: Run, folder: Path) -> None:
    before = (folder / "conda-lock.yml").read_text()
    done = run("update", "p", "app", "--max-moves", "0")

    assert (done.status, done.out) == (4, "")
    assert "moves 1 other, and 0 are allowed: lib" in done.err
    assert (folder / "conda-lock.yml").read_text() == before
    refused = run("update", "p", "app", "--max-moves", "0", "--json").json["error"]
    assert (refused["code"], refused["facts"]["moves"]) == ("too-many-moves", ["lib"])


def test_json(run: Run, folder: Path) -> None:
    planned = run("update", "p", "app", "--dry-run", "--json").json
    assert (planned["schema"], planned["outcome"]) == ("envforge.update/1", "planned")
    assert (planned["asked"], planned["others"]) == (["app"], ["lib"])
    assert [item["name"] for item in planned["difference"]["moves"]] == ["app", "lib"]
    made = run("update", "p", "--cuda", "12.9", "--json").json

    assert (made["name"], made["old_name"]) == ("p-torch27-cu129", NAME)
    assert (Path(made["folder"]) / "conda-lock.yml").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-moves", "-1"),
        ("--max-moves", "few"),
        ("--exclude-newer", "yesterday"),
        ("--cuda", "twelve"),
        ("app=>1",),
        ("",),
    ],
)
def test_what_cannot_be_meant(arguments: tuple[str, ...], run: Run) -> None:
    done = run("update", "p", *arguments)

    assert (done.status, done.out) == (2, "")


def test_the_place_is_repeated_in_commands(run: Run) -> None:
    """A command to copy looks where this one looked."""
    done = run("update", "p", "rich", "--envs", "elsewhere")

    assert done.status == 2
    assert "did you mean" in done.err or "envforge add" in done.err
