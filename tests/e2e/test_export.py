"""What others get of an environment, as a person hands it on."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from e2e.world import Place, World
from fakes.local_channel import CANONICAL

_AS_JSON = ("--to", "explicit", "--json")


@pytest.fixture
def name(place: Place, world: World) -> str:
    """An environment that is locked, and not installed."""
    place.good("lock", "x", *world.pytorch_cpu.options, "--with", "greeter=1.2")
    return world.pytorch_cpu.name("x")


def test_a_mirror_is_filled_by_the_list_and_installed_from(
    place: Place, world: World, name: str, tmp_path: Path
) -> None:
    """With the lines that the list itself gives, and nothing but them."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    done = place.good("export", name, "--to", "mirror-list", "-o", mirror / "LIST")
    assert done.out.strip() == str(mirror / "LIST")
    text = (mirror / "LIST").read_text()
    recipe = [line[6:] for line in text.splitlines() if line.startswith("#     ")]
    (mirror / "LIST").write_text(text.replace(CANONICAL, world.root.as_uri()))

    filled = subprocess.run(
        ["sh", "-ec", "\n".join(recipe)],
        cwd=mirror,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (filled.returncode, filled.stdout, filled.stderr) == (0, "", "")
    place.variables["ENVFORGE_MIRROR"] = str(mirror)
    place.variables["ENVFORGE_PACKAGE_CACHE"] = str(tmp_path / "empty-cache")
    place.good("install", name, "--locked", "--offline")
    assert place.good("run", name, "greet").out == "hello\n"


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("explicit", ["conda-{}.lock"]),
        ("environment.yml", ["environment-{}.yml"]),
        ("pixi", ["pixi.lock", "pixi.toml"]),
        ("sbom", ["NAME.cdx.json", "NAME.spdx.json"]),
    ],
)
def test_twice_and_elsewhere_gives_the_same_bytes(
    place: Place, name: str, tmp_path: Path, target: str, names: list[str]
) -> None:
    """At another time, for somebody else: no clock, no path, no random number."""
    first, second = tmp_path / "one", tmp_path / "deep" / "two"
    for folder, env in ((first, {}), (second, {"USER": "other", "TZ": "Asia/Tokyo", "LANG": "C"})):
        place.good("export", name, "--to", target, "-o", f"{folder}/", env=env)
    platform = json.loads(place.good("export", name, *_AS_JSON).out)["platforms"][0]

    found = {path.name: path.read_bytes() for path in first.iterdir()}

    assert sorted(found) == sorted(item.format(platform).replace("NAME", name) for item in names)
    assert found == {path.name: path.read_bytes() for path in second.iterdir()}
    assert not any(str(tmp_path).encode() in content for content in found.values())


def test_a_lock_that_another_tool_reads_becomes_ours_again(
    place: Place, name: str, tmp_path: Path
) -> None:
    """Out as pixi.lock, in again, and out as an explicit list: nothing moved on the way."""
    place.good("export", name, "--to", "pixi", "-o", f"{tmp_path}/out/")
    direct = place.good("export", name, "--to", "explicit").out

    around = place.good("export", f"{tmp_path}/out/pixi.lock", "--to", "explicit").out

    assert sorted(around.partition("@EXPLICIT")[2].splitlines()) == sorted(
        direct.partition("@EXPLICIT")[2].splitlines()
    )
