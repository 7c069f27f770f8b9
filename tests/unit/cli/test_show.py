"""`envforge show`."""

from __future__ import annotations

from fakes.command_line import Run
from fakes.workplace import NAME, make_environment

from envforge.forge import Forge


def test_what_an_environment_is_locked_to(run: Run, forge: Forge) -> None:
    make_environment(forge)
    done = run("show", "p")
    rows = dict(line.strip().split("  ", 1) for line in done.out.splitlines()[1:])

    assert done.status == 0
    assert done.out.splitlines()[0] == NAME
    assert rows["torch"].strip() == "2.7.1, CUDA 12.6, from conda-forge"
    assert rows["driver"].strip() == "525.60.13 or newer"
    assert rows["lock"].strip() == "current"
    assert rows["installed"].strip() == "no"


def test_the_packages(run: Run, forge: Forge) -> None:
    make_environment(forge)
    plain, long = run("show", "p"), run("show", "p", "--packages")

    assert long.out.startswith(plain.out)
    assert long.out.removeprefix(plain.out).splitlines() == [
        "  cuda-version 12.6 h0_0",
        "  python 3.10.14 h0_0",
        "  pytorch 2.7.1 cuda126_generic_py310_200",
    ]


def test_json_holds_the_packages(run: Run, forge: Forge) -> None:
    make_environment(forge)
    document = run("show", "p", "--json").json

    assert document["schema"] == "envforge.show/1"
    assert [item["name"] for item in document["locked_packages"]] == [
        "cuda-version",
        "python",
        "pytorch",
    ]
