"""Packs from the command line, to a machine that reaches nobody."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import made_once
from e2e.world import Place, World
from fakes.local_hub import LocalHub
from fakes.own_wheels import own_wheels
from fakes.tiny_model import tiny_bert
from fakes.wheels import build_wheel, write_index
from fakes.wheels import serve as serve_wheels

BERT = "tiny/bert"
_READ_ALL = (
    "import glob, os, shout;"
    " files = glob.glob(os.environ['HF_HUB_CACHE'] + '/models--*/snapshots/*/*');"
    " print(len(files), [len(open(path, 'rb').read()) for path in files])"
)


@pytest.fixture(scope="session")
def index(shared: Path) -> Path:
    """An index with what envforge needs, and one wheel for environments."""

    def make(folder: Path) -> None:
        own_wheels(folder)
        build_wheel(folder, "shout", "1.4", modules={"shout.py": "LOUD = True\n"})
        write_index(folder, sorted(folder.glob("*.whl")))

    return made_once(shared / "pack-index", make)


@pytest.fixture
def served_index(index: Path) -> Iterator[str]:
    with serve_wheels(index) as served:
        yield f"{served.address}/simple/"


def locked(place: Place, world: World, project: str, which: str = "pytorch_cuda") -> str:
    torch = world.build(which)
    place.good("lock", project, *torch.options)
    return torch.name(project)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, world: World, shared: Path) -> tuple[Place, str]:
    """A place with one environment and its pack, which nobody changes."""
    place = Place.beside(tmp_path_factory.mktemp("packed"), world, shared)
    name = locked(place, world, "p")
    place.good("pack", name, "-o", "p.tar", "--no-bootstrap", "--receipt", "p.json")
    return place, name


@pytest.fixture
def packed(place: Place, made: tuple[Place, str]) -> str:
    """The same in a place of one's own; the environment's name."""
    other, name = made
    shutil.copytree(other.envs / name, place.envs / name)
    for file in ("p.tar", "p.json"):
        shutil.copy(other.folder / file, place.folder)
    return name


def elsewhere(place: Place, name: str = "there") -> Place:
    """A machine of its own: it shares nothing with the first, and knows no mirror."""
    folder = place.folder / name
    folder.mkdir()
    caches = {"ENVFORGE_PACKAGE_CACHE": "pkgs", "ENVFORGE_CACHE": "cache", "UV_CACHE_DIR": "uv"}
    return Place(folder, {key: str(folder / where) for key, where in caches.items()})


def members(pack: Path) -> dict[str, bytes]:
    """As tar sees it."""
    with tarfile.open(pack) as tar:
        return {item.name: tar.extractfile(item).read() for item in tar}  # type: ignore[union-attr]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- what is in it --------------------------------------------------------------------------


def test_equal_environments_give_equal_bytes_and_share_what_they_have_in_common(
    place: Place, world: World
) -> None:
    one, two = (locked(place, world, "p", which) for which in ("pytorch_cuda", "pytorch_cpu"))

    done = place.good("pack", one, two, "-o", "a.tar", "--no-bootstrap", "--json").json
    place.good("pack", two, one, "-o", "b.tar", "--no-bootstrap", "--receipt", "b.json")
    alone = place.good("pack", one, "-o", "c.tar", "--no-bootstrap", "--json").json

    assert sha256(place.folder / "a.tar") == done["sha256"] == sha256(place.folder / "b.tar")
    assert (place.folder / "a.tar").stat().st_size == done["bytes"]
    held = members(place.folder / "a.tar")
    assert sum(name.endswith(".conda") and "python-3" in name for name in held) == 1
    assert done["files"]["package"]["count"] < 2 * alone["files"]["package"]["count"]
    folder = place.envs / one
    assert held[f"environments/{one}/conda-lock.yml"] == (folder / "conda-lock.yml").read_bytes()
    assert held["receipt.json"] == (place.folder / "b.json").read_bytes()
    assert not list(place.folder.glob("*.part"))


def test_the_receipt_is_a_statement_about_everything(place: Place, packed: str) -> None:
    held = members(place.folder / "p.tar")
    receipt = json.loads(held.pop("receipt.json"))

    assert receipt["_type"] == "https://in-toto.io/Statement/v1"
    stated = {item["name"]: item["digest"]["sha256"] for item in receipt["subject"]}
    assert stated == {name: hashlib.sha256(data).hexdigest() for name, data in held.items()}
    [environment] = receipt["predicate"]["environments"]
    assert environment["name"] == packed


def test_a_dry_run_writes_nothing(place: Place, world: World) -> None:
    name = locked(place, world, "p")
    before = place.tree()

    done = place.good("pack", name, "-o", "p.tar", "--dry-run")

    assert done.out.startswith("would pack 5 packages")
    assert place.tree() == before


def test_a_pack_goes_through_a_pipe(place: Place, world: World) -> None:
    name = locked(place, world, "p")
    there = elsewhere(place)
    with (
        place.start("pack", name, "-o", "-", "--no-bootstrap", text=False) as packing,
        there.start("unpack", "-", stdin=packing.stdout, text=False) as unpacking,
    ):
        out, err = unpacking.communicate(timeout=120)
        said = packing.stderr.read() if packing.stderr else b""

    assert unpacking.returncode == 0, (out, err)
    assert b"packed standard output" in said
    there.good("install", "--offline", "--locked", name)
    assert list((there.folder / "cache").iterdir()) == []


# --- there ----------------------------------------------------------------------------------


def test_what_is_unpacked_installs_offline_and_unpacking_again_changes_nothing(
    place: Place, packed: str
) -> None:
    there = elsewhere(place)

    assert "5 of 5 files were new" in there.good("unpack", "../p.tar").out
    there.good("install", "--offline", "--locked", packed)
    assert "0 of 5 files were new" in there.good("unpack", "../p.tar").out
    assert f"{packed}: ok" in there.good("verify", packed).out


def test_a_folder_that_differs_is_kept_unless_forced(place: Place, packed: str) -> None:
    there = elsewhere(place)
    file = there.envs / packed / "environment.yml"
    file.parent.mkdir(parents=True)
    file.write_text("name: mine\n")
    before = there.tree()

    done = there.run("unpack", "../p.tar")

    assert done.status == 2
    assert "environment.yml is another one" in done.err
    assert there.tree() == before
    there.good("unpack", "../p.tar", "--force")
    assert file.read_text() == (place.envs / packed / "environment.yml").read_text()


@pytest.mark.parametrize("fault", ["cut", "flipped", "swapped", "receipt"])
def test_a_pack_that_was_tampered_with_is_refused_with_nothing_written(
    place: Place, world: World, packed: str, fault: str
) -> None:
    path, options = place.folder / "p.tar", []
    data = bytearray(path.read_bytes())
    if fault == "cut":
        del data[-5000:]
    elif fault == "flipped":
        data[len(data) // 2] ^= 1
    elif fault == "swapped":
        place.good("pack", locked(place, world, "q"), "-o", "q.tar", "--no-bootstrap")
        data = bytearray((place.folder / "q.tar").read_bytes())
        options = ["--receipt", "../p.json"]
    else:
        (place.folder / "p.json").write_text("{}\n")
        options = ["--receipt", "../p.json"]
    path.write_bytes(data)
    there = elsewhere(place)

    done = there.run("unpack", "../p.tar", *options)

    assert done.status == 5, done.err
    assert "is no pack that can be used" in done.err
    assert there.tree() == {}
    assert there.run("unpack", "../p.tar", *options, "--json").json["error"]["code"] == (
        "broken-pack"
    )


# --- on the way -----------------------------------------------------------------------------


def test_a_killed_pack_goes_on_where_it_stopped(place: Place, packed: str) -> None:
    """It is killed once the archive has grown; the bytes are the same in the end."""
    whole = (place.folder / "p.tar").rename(place.folder / "whole.tar")
    archive = place.folder / "p.tar.part" / "archive"
    with place.start("pack", packed, "-o", "p.tar", "--no-bootstrap") as packing:
        while packing.poll() is None and not (archive.exists() and archive.stat().st_size > 5000):
            time.sleep(0.001)
        os.killpg(packing.pid, signal.SIGKILL)
    archive.parent.mkdir(exist_ok=True)
    if not archive.exists():  # it was quicker than we: cut by hand what it would have left
        archive.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        (place.folder / "p.tar").unlink()

    done = place.good("pack", packed, "-o", "p.tar", "--no-bootstrap", "--json").json

    assert done["resumed_files"] > 0
    assert sha256(place.folder / "p.tar") == sha256(whole)
    assert not archive.parent.exists()


def test_offline_all_that_would_have_to_be_fetched_is_named(place: Place, world: World) -> None:
    name = locked(place, world, "p")
    done = place.run("pack", name, "-o", "p.tar", "--offline", env={"ENVFORGE_MIRROR": ""})

    assert done.status == 7
    assert "we are offline, and a pack needs archives" in done.err
    assert "pytorch-2" in done.err


def test_a_stale_lock_is_not_packed(place: Place, world: World) -> None:
    name = locked(place, world, "p")
    file = place.envs / name / "environment.yml"
    file.write_text(file.read_text() + "  - greeter\n")

    assert place.run("pack", name, "-o", "p.tar").status == 4
    assert not list(place.folder.glob("p.tar*"))


# --- with no network at all -----------------------------------------------------------------


@pytest.fixture
def no_network() -> Iterator[list[str]]:
    """What runs a program where there is no route, not even to this machine."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and ip(8)")
    name = f"envforge-{uuid.uuid4().hex[:8]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no network namespace may be made here: {made.stderr.strip()}")
    try:
        yield ["ip", "netns", "exec", name]
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.mark.slow
def test_without_envforge_python_or_network_an_environment_and_its_model_come_to_life(
    place: Place, world: World, served_index: str, no_network: list[str]
) -> None:
    """Packed with packages, a wheel and a model; there, `sh` and `tar` are all there is."""
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": served_index}
    name = locked(place, world, "p")
    file = place.envs / name / "environment.yml"
    file.write_text(file.read_text() + "  - pip:\n      - shout\n")
    with LocalHub() as hub:
        hub.add(BERT, tiny_bert(seed=1))
        online = {**pip, "HF_ENDPOINT": hub.url, "ENVFORGE_STORE": str(place.folder / "store")}
        place.folder.chmod(0o755)
        place.good("cache", "init", env=online)
        place.good("lock", name, "--model", BERT, env=online)
        packed = place.good("pack", name, "--models", "-o", "p.tar", "--json", env=online).json
    assert packed["files"]["wheel"]["count"] == 1
    assert packed["files"]["model"]["count"] == len(set(tiny_bert()))
    assert packed["bootstrap"]

    there = place.folder / "there"
    there.mkdir()
    shutil.copy(place.folder / "p.tar", there)
    variables = {"HOME": str(there), "PATH": "/usr/bin:/bin"}

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*no_network, *map(str, command)],
            cwd=there,
            env=variables,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    assert run("ip", "route", "show", "table", "all").stdout == ""
    run("tar", "-xf", "p.tar", "bootstrap.sh").check_returncode()
    done = run("sh", "bootstrap.sh", "p.tar")
    assert done.returncode == 0, done.stdout + done.stderr
    envforge = there / ".local/share/envforge/tool/bin/envforge"
    assert f"run it: {envforge} run {name} -- python" in done.stdout

    verified = run(envforge, "verify", name)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    proven = run(envforge, "cache", "prove", name, BERT, "--json", "--", "python", "-c", _READ_ALL)
    assert proven.returncode == 0, proven.stdout + proven.stderr
    proof: dict[str, Any] = json.loads(proven.stdout)
    assert {item["origin"] for item in proof["files"]} == {"hardlink"}

    again = run("sh", "bootstrap.sh", "p.tar")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "laying out" not in again.stderr
