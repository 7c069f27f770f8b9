"""Torch from a package index, and Python from the machine: where no conda channel is in reach."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.wheel_world import TORCH, WheelWorld
from e2e.world import Place, World
from fakes.wheels import Served, serve

WHEELS = ("--torch", TORCH, "--source", "wheels", "--python", "host")
CPU = (*WHEELS, "--cuda", "cpu")
CUDA = (*WHEELS, "--cuda", "12.6")


@pytest.fixture
def index(wheels: WheelWorld) -> Iterator[Served]:
    """All indexes over loopback HTTP."""
    with serve(wheels.root) as served:
        yield served


@pytest.fixture
def desk(tmp_path: Path, world: World, wheels: WheelWorld, shared: Path, index: Served) -> Place:
    """A person whose pip is configured with the site's index, and who reaches no channel."""
    place = Place.beside(tmp_path, world, shared)
    place.variables["ENVFORGE_MIRROR"] = str(tmp_path / "no-channel-at-all")
    place.variables["UV_CACHE_DIR"] = str(tmp_path / "uv")
    place.variables["UV_HTTP_RETRIES"] = "0"
    place.variables |= wheels.pip(f"{index.address}/site/simple")
    return place


def test_the_main_job_from_nothing_but_an_index(desk: Place, index: Served) -> None:
    """Create, run, verify, list; harm, repair; add; offline."""
    name = "demo-torch27-cpu"
    created = desk.good("create", "demo", *CPU, "--with", "quiet", "--wheel-index", "site")

    assert "torch's wheels come from what pip on this machine is configured with" in created.err
    assert f"torch {TORCH}, CPU" in created.out
    assert "this machine only" in created.out
    assert f"{name}: ok (1 warning" in created.out
    lock = (desk.envs / name / "conda-lock.yml").read_text()
    assert re.search(rf"name: torch\n  version: {TORCH}\+cpu\n  manager: pip", lock)
    assert f"{index.address}/site/torch-{TORCH}%2Bcpu-" in lock
    assert "envforge.target.wheel-index: site" in lock

    assert desk.good("run", name, "--", "shout").out == "HELLO\n"
    program = "import torch, quiet; print(torch.__version__, quiet.__version__)"
    assert desk.good("run", name, "--", "python", "-c", program).out == f"{TORCH}+cpu 0.3\n"
    assert "No broken requirements" in desk.good("run", name, "--", "pip", "check").out
    [row] = desk.good("list").out.splitlines()[1:]
    assert row.split()[:3] == [name, TORCH, "cpu"]
    assert re.search(r"^  wheel index +site$", desk.good("show", name).out, re.MULTILINE)

    [module] = (desk.prefixes / name).glob("lib/python*/site-packages/shout.py")
    module.unlink()
    found = desk.run("verify", name, "-v")
    assert (found.status, "shout.py" in found.out) == (1, True)
    repaired = desk.good("install", name)
    assert "note:   ~ shout 1.4 (repaired)" in repaired.err
    assert desk.good("run", name, "--", "shout").out == "HELLO\n"

    desk.good("remove", name, "--yes")
    index.failing[""] = 503
    asked = len(index.requests)
    desk.good("install", name, "--offline")
    assert desk.good("verify", name, "--level", "static").out.startswith(f"{name}: ok")
    assert len(index.requests) == asked


def test_torch_from_an_index_of_its_own(desk: Place, index: Served, wheels: WheelWorld) -> None:
    """A CUDA build from the named address, everything else from the default index."""
    desk.variables |= wheels.pip(f"{index.address}/default/simple")
    address = f"{index.address}/{{accelerator}}/simple"

    created = desk.good("create", "gpu", *CUDA, "--wheel-index", address, "--with", "quiet")

    assert f"torch's wheels come from {index.address}/cu126/simple" in created.err
    assert f"torch {TORCH}, CUDA 12.6" in created.out
    lock = (desk.envs / "gpu-torch27-cu126" / "conda-lock.yml").read_text()
    assert f"{index.address}/cu126/torch-{TORCH}%2Bcu126-" in lock
    assert f"url: {index.address}/default/quiet-" in lock
    written = (desk.envs / "gpu-torch27-cu126" / "environment.yml").read_text()
    assert re.search(rf"torch @ {index.address}/cu126/torch-\S+#sha256=[0-9a-f]{{64}}", written)

    added = desk.good("add", "gpu", "shout")
    assert "as locked" in added.out
    desk.good("install", "gpu", "--locked")


def test_wheels_in_a_folder(desk: Place, wheels: WheelWorld) -> None:
    """pip's find-links without any index: the lock says that it is this machine's."""
    desk.variables["PIP_NO_INDEX"] = "1"
    desk.variables["PIP_FIND_LINKS"] = str(wheels.root / "links")
    del desk.variables["PIP_INDEX_URL"]

    created = desk.good("create", "links", *CPU, "--wheel-index", "auto")

    assert "(`site`)" in created.err
    lock = (desk.envs / "links-torch27-cpu" / "conda-lock.yml").read_text()
    assert f"url: file://{wheels.root}/links/torch-" in lock
    assert "[machine-local-lock]" in created.out
    assert desk.good("run", "links", "--", "shout").out == "HELLO\n"


def test_an_index_out_of_reach_is_named_and_never_replaced(desk: Place, index: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/cpu"
    desk.home.mkdir()
    before = desk.tree()

    done = desk.run("create", "x", *CPU, "--wheel-index", address)

    assert done.status == 7, done.err
    assert f"error: cannot read `{address}/torch/`" in done.err
    assert "hint: `--wheel-index site` takes it from what pip is configured with" in done.err
    assert done.out == ""
    assert {path: text for path, text in desk.tree().items() if path[:3] != "uv/"} == before


@pytest.mark.parametrize(
    ("options", "index_of_torch", "words"),
    [
        (CUDA, "cpu", ["asked for torch for cu126 ", f"torch {TORCH}+cpu, a build for cpu"]),
        (CPU, "cu126", ["asked for torch for cpu ", f"torch {TORCH}+cu126, a build for cu126"]),
    ],
)
def test_an_index_with_another_accelerator(
    desk: Place, index: Served, options: tuple[str, ...], index_of_torch: str, words: list[str]
) -> None:
    """A CPU build where CUDA was asked for is an error, and the other way round."""
    address = f"{index.address}/{index_of_torch}/simple"
    done = desk.run("create", "x", *options, "--wheel-index", address)
    assert done.status == 4, done.err
    for expected in words:
        assert expected in done.err, done.err
    assert not desk.envs.exists()
    assert not desk.prefixes.exists()


def test_an_archive_that_is_not_what_the_lock_names(desk: Place, index: Served) -> None:
    """Incomplete until the index serves the right bytes again."""
    desk.good("lock", "x", *CPU, "--wheel-index", "site")
    index.replaced["site/shout-"] = b"<!doctype html><title>Log in</title>"

    done = desk.run("install", "x")

    assert done.status == 5, done.err
    assert "shout-1.4-py3-none-any.whl` is not what the lock names: expected sha256 " in done.err
    assert desk.good("list").out.splitlines()[1].endswith(" incomplete")
    index.replaced.clear()
    desk.good("install", "x")
    assert desk.good("list").out.splitlines()[1].endswith(" installed")


@pytest.mark.parametrize("value", ["foo", "ftp://host/simple", ""])
def test_a_wheel_index_that_means_nothing(desk: Place, value: str) -> None:
    done = desk.run("create", "x", *CPU, "--wheel-index", value)
    assert done.status == 2, done.err
    assert f"wheel index `{value}` is neither" in done.err
    assert not desk.envs.exists()
