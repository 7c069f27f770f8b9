"""`envforge check --availability`, as a person and as CI see it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from e2e.world import Place, World
from fakes.channel_server import ChannelServer, serve


@pytest.fixture
def locked(place: Place, world: World, server: ChannelServer) -> str:
    """An environment from a mirror over HTTP."""
    place.variables["ENVFORGE_MIRROR"] = server.url
    place.good("lock", "x", *world.forge_cuda.options)
    return world.forge_cuda.name("x")


def test_what_is_gone_is_named_with_the_command_that_helps(
    place: Place, server: ChannelServer, locked: str
) -> None:
    good = place.good("check", locked, "--availability")
    assert "archives of x-torch" in good.err
    assert "are there" in good.err
    assert "ok x-torch" in good.out

    server.faults["cudnn-9.10.1.4-h7646684_0.conda"] = "404"
    lost = place.run("check", locked, "--availability")
    assert lost.status == 1
    assert "`cudnn 9.10.1.4` for" in lost.out
    assert "it is not there any more (404)" in lost.out
    assert "[archive-gone]" in lost.out
    assert "do: " in lost.out
    document = place.run("check", locked, "--availability", "--json").json
    [report] = document["locks"]
    [archive] = report["archives"]["missing"]
    assert (archive["name"], archive["state"]) == ("cudnn", "gone")
    assert archive["url"].startswith("https://conda.anaconda.org/conda-forge/")
    assert archive["asked"].startswith(server.url)
    assert not document["passed"]


def test_where_else_it_is(
    place: Place, world: World, server: ChannelServer, locked: str, tmp_path: Path
) -> None:
    """Another channel that `.condarc` names, by the hash in its metadata."""
    shutil.copytree(world.root / "conda-forge", tmp_path / "other" / "rescue")
    server.faults["cudnn-9.10.1.4-h7646684_0.conda"] = "404"
    with serve(tmp_path / "other") as other:
        place.home.mkdir(exist_ok=True)
        (place.home / ".condarc").write_text(f"channels: ['{other.url}/rescue']\n")
        lost = place.run("check", locked, "--availability")
        assert f"the same file is at `{other.url}/rescue/" in lost.out
    assert lost.status == 1


def test_servers_that_cannot_be_asked_are_no_pass(place: Place, locked: str) -> None:
    place.variables["ENVFORGE_MIRROR"] = "http://127.0.0.1:9"
    down = place.run("check", locked, "--availability")
    assert down.status == 1
    assert "archives could not be asked for" in down.out
    assert "connection refused [archive-unknown]" in down.out
    assert down.out.count("archive-unknown") == 1  # one server, one problem

    offline = place.run("check", locked, "--availability", "--offline")
    assert offline.status == 2
    assert "asks servers, and we are offline" in offline.err
    assert place.good("check", locked, "--offline").status == 0
