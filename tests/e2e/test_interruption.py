"""Killed, interrupted, two at once: never good before its end, and the same command ends it."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from e2e.world import Done, Place, World
from fakes.channel_server import ChannelServer


def fingerprint(prefix: Path) -> dict[str, tuple[int, bytes | str]]:
    """Every file of an environment: its mode, and its content where that is the same everywhere."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(prefix.rglob("*")):
        name = str(path.relative_to(prefix))
        if "__pycache__" in name or path.is_dir() or name == "conda-meta/envforge.lock":
            continue
        if path.is_symlink():
            found[name] = (0, str(path.readlink()))
        elif name == "conda-meta/history":  # holds the time
            found[name] = (path.stat().st_mode, "")
        elif path.suffix == ".json" and path.parent.name == "conda-meta":
            found[name] = (path.stat().st_mode, record(path))
        else:
            text = path.read_bytes().replace(os.fsencode(prefix.parents[1]), b"HERE")
            found[name] = (path.stat().st_mode, text)
    return found


def record(path: Path) -> str:
    """A package record without what follows from the prefix's own path."""
    document = json.loads(path.read_text())
    for item in document["paths_data"]["paths"]:
        item.pop("sha256_in_prefix", None)
        if item["path_type"] == "unix_python_entry_point":
            del item["size_in_bytes"], item["sha256"]
    del document["link"]["source"], document["extracted_package_dir"]
    return json.dumps(document, sort_keys=True)


def kill_group(process: subprocess.Popen[str]) -> None:
    """kill -9 to the command and whatever it started."""
    with suppress(ProcessLookupError):  # it had ended
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, world: World, shared: Path
) -> tuple[float, dict[str, tuple[int, bytes | str]]]:
    """How long the work takes from empty caches, and what comes of it."""
    place = cold(Place.beside(tmp_path_factory.mktemp("undisturbed"), world, shared))
    began = time.monotonic()
    name = place.created(world.pytorch_cuda, "x", "--with", "greeter=1.2")
    return time.monotonic() - began, fingerprint(place.prefixes / name)


def cold(place: Place) -> Place:
    """With a package cache of its own, so that fetching is interrupted, too."""
    place.variables["ENVFORGE_PACKAGE_CACHE"] = str(place.folder / "pkgs")
    return place


@pytest.mark.parametrize("moment", range(4))
def test_killed_at_any_moment_of_create(
    place: Place,
    world: World,
    undisturbed: tuple[float, dict[str, tuple[int, bytes | str]]],
    moment: int,
) -> None:
    """Seeded moments spread over the whole of it; two kills, then the command is let go on."""
    whole, expected = undisturbed
    name = world.pytorch_cuda.name("x")
    command = ("create", "x", *world.pytorch_cuda.options, "--with", "greeter=1.2")
    cold(place)
    for again in range(2):
        chance = random.Random(f"{moment}.{again}").uniform(0.1, 0.9)
        process = place.start(*command)
        time.sleep(whole * (moment + chance) / 4)
        ended = process.poll() is not None
        kill_group(process)

        listed = place.good("list").out
        state = next((row.split()[-1] for row in listed.splitlines() if name in row), "no")
        assert state in {"no", "incomplete", "installed"}
        entered = place.run("run", name, "--", "greet")
        if ended or state == "installed":
            assert entered.out == "hello\n"
        else:
            assert entered.status in {2, 5}

    place.good(*command)

    assert fingerprint(place.prefixes / name) == expected
    assert place.good("verify", name).out.startswith(f"{name}: ok")
    assert [path.name for path in place.envs.iterdir() if path.name[0] != "."] == [name]
    assert [path.name for path in place.prefixes.iterdir()] == [name]


@pytest.mark.parametrize("moment", range(2))
def test_killed_while_repairing(place: Place, world: World, moment: int) -> None:
    """The harder half: an environment that was good is changed."""
    name = place.created(world.forge_cuda, "x", "--with", "greeter=1.2")
    spec = place.envs / name / "environment.yml"
    spec.write_text(spec.read_text().replace("greeter=1.2", "greeter=1.3"))
    place.good("lock", name)

    process = place.start("install", name)
    time.sleep(random.Random(moment).uniform(0.05, 0.2) + 0.2 * moment)
    kill_group(process)

    place.good("install", name)
    assert place.good("run", name, "--", "greet").out == "hello again\n"
    assert place.good("verify", name).out.startswith(f"{name}: ok")


@pytest.mark.parametrize("during", ["solving", "linking"])
def test_control_c_ends_with_130_and_one_word(
    place: Place, world: World, server: ChannelServer, during: str
) -> None:
    """At a channel that answers slowly; the terminal sends the signal to the whole group."""
    place.variables["ENVFORGE_MIRROR"] = server.url
    cold(place).variables["ENVFORGE_CACHE"] = str(place.folder / "cache")
    server.faults[".zst" if during == "solving" else ".conda"] = "slow"
    if during == "solving":
        server.faults["repodata.json"] = "slow"
    process = place.start("create", "x", *world.pytorch_cuda.options)
    deadline = time.monotonic() + 20
    while not server.count(".conda" if during == "linking" else ".zst"):
        assert time.monotonic() < deadline
        time.sleep(0.02)

    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=10)

    assert process.returncode == 130, err
    assert out == ""
    assert err.endswith("interrupted\n")
    assert "Traceback" not in err
    server.faults.clear()
    place.good("create", "x", *world.pytorch_cuda.options)


def ended(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=120)
    return Done(process.returncode, out, err)


def test_two_creates_of_one_environment_at_once(
    place: Place, world: World, server: ChannelServer
) -> None:
    """Both end well: one waits, says for whom, and finds the work done."""
    cold(place).variables["ENVFORGE_MIRROR"] = server.url
    server.faults[".conda"], server.delay = "slow", 0.1  # so that the second does come in time
    command = ("create", "x", *world.pytorch_cuda.options, "--with", "greeter=1.2")
    first, second = place.start(*command), place.start(*command)
    both = [ended(first), ended(second)]

    assert [done.status for done in both] == [0, 0], both
    name = world.pytorch_cuda.name("x")
    assert all(re.search(rf"^{name}: ok", done.out, re.MULTILINE) for done in both)
    waited = [done for done in both if "waiting for process " in done.err]
    assert len(waited) == 1, both
    assert "which holds `" in waited[0].err
    assert re.search(r"^as locked ", waited[0].out, re.MULTILINE)
    assert sorted(path.name for path in place.envs.iterdir()) == [name]


def test_many_commands_at_once(place: Place, world: World) -> None:
    """Two projects from one cold package cache, while others look on."""
    cold(place)
    one = place.start("create", "one", *world.pytorch_cuda.options)
    two = place.start("create", "two", *world.forge_cuda.options)
    lookers = [place.good("list"), place.good("list", "--json")]
    done = [ended(one), ended(two)]
    assert [item.status for item in done] == [0, 0], done
    assert all(item.err == "" for item in lookers)
    for name in (world.pytorch_cuda.name("one"), world.forge_cuda.name("two")):
        place.good("verify", name, "--level", "static")
