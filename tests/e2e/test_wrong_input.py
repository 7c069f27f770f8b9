"""What a person gets wrong, or finds broken: a clear sentence, its exit code, nothing written."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.world import PYTHON, Place, World
from fakes.channel_server import ChannelServer, Fault, serve
from fakes.stub_driver import H200, RTX_5090, stub_driver

OLD = stub_driver(driver="440.33.01", cuda="10.2", gpus=[("Tesla V100", "7.0", 1 << 34)])
NEW = stub_driver(driver="580.65.06", cuda="13.0", gpus=[RTX_5090])


@dataclass(frozen=True)
class Case:
    """A command, its exit code, and words that its error must hold."""

    command: str
    status: int
    words: tuple[str, ...]
    driver: dict[str, str] | None = None

    def __str__(self) -> str:
        return self.command.replace("--torch 2.0.1 --cuda 11.8", "…")[:60]


def case(command: str, status: int, *words: str, driver: dict[str, str] | None = None) -> Case:
    return Case(command, status, words, driver)


def arguments(command: str) -> list[str]:
    """Words; `''` is an empty one, and `_` in quotes a blank."""
    return [
        "" if word == "''" else word.strip("'").replace("_", " ") if word[0] == "'" else word
        for word in command.split()
    ]


T = "--torch 2.0.1 --cuda 11.8"
REQUESTS = [
    # --- no such combination
    case("create x --torch 9.9.9 --cuda 11.8", 3, "no PyTorch build for `9.9.9`", "create x --"),
    case("create x --torch 2.0.9 --cuda 11.8", 3, "`2.0.9`", "--torch 2.0.1 --cuda 11.8"),
    case(
        "create x --torch 2.0.1 --cuda 12.6",
        *(3, "it was published for CUDA 11.7 and 11.8, and for CPU", "nearest that exist:"),
        "\n  envforge create x --torch 2.0.1 --cuda 11.8\n",
    ),
    case(f"create x {T} --python 3.13", 3, "3.8, 3.9, 3.10 and 3.11", "--cuda 11.8 --python 3.10"),
    case(f"create x {T} --source conda-forge", 3, "conda-forge", "--source"),
    case(f"create x {T}", 3, "driver 440.33.01 cannot run CUDA 11.8", "450.80.02", driver=OLD),
    case(f"create x {T} --driver 440.33", 3, "needs 450.80.02 or newer", "--cuda 10.2 --driver"),
    case(
        f"create x {T}",
        *(
            3,
            "no kernels for `NVIDIA GeForce RTX 5090` (compute capability 12.0)",
            "what runs on it:",
        ),
        driver=NEW,
    ),
    case(f"create x {T} --driver 580.65 --gpu 'RTX_5090'", 3, "no kernels for `GeForce RTX 5090`"),
    # --- values that mean nothing
    case(f"create ../x {T}", 2, "project name `../x` starts with '.'", "hint: for example `x`"),
    case(f"create 'a_b' {T}", 2, "project name `a b` holds ' '", "for example `a-b`"),
    case(f"create $(id) {T}", 2, "project name `$(id)` starts with '$'"),
    case(f"create '' {T}", 2, "project name `` is empty", "for example `nlp-bert`"),
    case(f"create {'a' * 65} {T}", 2, "has 65 characters, and 64 are the limit"),
    case("create x --torch 2 --cuda 11.8", 2, "`2` names a major version only", "give `latest`"),
    case("create x --torch '' --cuda 11.8", 2, "torch version `` is not a version"),
    case("create x --torch 2.0.1 --cuda 12", 2, "CUDA version `12`", "for example `--cuda 12.1`"),
    case("create x --torch 2.0.1 --cuda gpu", 2, "CUDA version `gpu` is not of the form 11.8"),
    case(f"create x {T} --python 3", 2, "Python version `3` is not of the form 3.11"),
    case(f"create x {T} --python ''", 2, "Python version ``"),
    case(f"create x {T} --with ''", 2, "package spec `` is empty", "for example `numpy`"),
    case(f"create x {T} --with foo==", 2, "package spec `foo==` has no version behind `==`"),
    case(f"create x {T} --with pytorch=1.13", 2, "`pytorch=1.13` contradicts", "change `--torch`"),
    case(f"create x {T} --with cpuonly", 2, "`cpuonly` contradicts", "CUDA 11.8"),
    case(f"create x {T} --with a=1 --with a=2", 2, "`a=2` contradicts", "`a=1` was asked for too"),
    case(f"create x {T} --channel ''", 2, "channel `` is neither a name nor an address"),
    case(f"create x {T} --channel ./nope", 7, "nope`: there is no such folder"),
    case(f"create x {T} --platform osx-arm64", 2, "`osx-arm64` has no CUDA", "`--cuda cpu`"),
    case("create x --torch 2.0.1 --cuda cpu --platform win-64", 2, "is not this machine's"),
    case(
        f"create x {T} --template nlpp", 2, "template `nlpp` does not exist", "did you mean `nlp`?"
    ),
    case(f"create x {T} --source wheel", 2, "'wheel' is not one of", "'wheels'"),
    case(
        f"create x {T} --gpu 'RTX_9999'", 2, "GPU `RTX 9999`", "did you mean", "compute capability"
    ),
    # --- the command line itself
    case(f"crate x {T}", 2, "No such command 'crate'", "Did you mean 'create'"),
    case(f"create x {T} --pyton 3.10", 2, "No such option '--pyton'", "'--python'"),
    case("create", 2, "Missing argument 'PROJECT'"),
    case("run x", 2, "Missing argument '-- CMD...'"),
    case("show nope", 2, "no environment `nope`", "`envforge list` shows what is there"),
    case("verify", 2, "no environment of `", "is installed"),
    # --- what the channels do not have
    case(f"create x {T} --python {PYTHON} --source pytorch --with greter", 4, "mean `greeter`?"),
    case(
        f"create x {T} --python {PYTHON} --source pytorch --with greeter=9",
        *(4, "what the channels have nearest is 1.3, 1.2", "tried, and does solve:"),
        f"\n  envforge create x {T} --python {PYTHON} --with greeter --source pytorch\n",
    ),
    case(f"create x {T} --mirror /nowhere", 7, "the mirror has no channel `nvidia`", "`--mirror`"),
    case(f"create x {T} --channel bio", 7, "the mirror has no channel `bio`; it holds conda-forge"),
]


@pytest.mark.parametrize("wrong", REQUESTS, ids=str)
def test_a_wrong_request(place: Place, wrong: Case) -> None:
    words = arguments(wrong.command)
    if wrong.status == 4 and sys.version_info >= (3, 12):
        pytest.skip("the channel for this Python has another torch")
    place.home.mkdir()
    before = place.tree()

    done = place.run(*words, env=wrong.driver)

    assert done.status == wrong.status, done.err
    for expected in wrong.words:
        assert expected in done.err, done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert place.tree() == before


@pytest.mark.parametrize("written", ["11.8", "cu118", "cuda11.8", "11.8.0", "118"])
def test_cuda_as_people_write_it(place: Place, world: World, written: str) -> None:
    if sys.version_info >= (3, 12):
        pytest.skip("the channel for this Python has another CUDA")
    options = [*world.pytorch_cuda.options, "--dry-run"]
    options[options.index("--cuda") + 1] = written
    assert "CUDA 11.8" in place.good("lock", "x", *options).out


# --- files that a person, a merge or another tool broke --------------------------------------


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, world: World, shared: Path) -> Path:
    """The folder of a locked environment, to be copied and broken."""
    place = Place.beside(tmp_path_factory.mktemp("template"), world, shared)
    place.good("lock", "x", *world.pytorch_cuda.options)
    return place.envs / world.pytorch_cuda.name("x")


@pytest.fixture
def folder(place: Place, template: Path) -> Path:
    place.home.mkdir()
    return Path(shutil.copytree(template, place.envs / template.name))


def conflict(text: str) -> str:
    return f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n"


PIXI = """\
version: 6
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64:
      - conda: https://conda.anaconda.org/conda-forge/noarch/a-1.0-pyhd8ed1ab_0.conda
"""
FILES = [
    ("environment.yml", lambda _: "name: [x\n  foo", ["environment.yml`: line 2, column 6: "]),
    (
        "environment.yml",
        lambda text: text.replace("name:", "nmae:").replace("platforms:", "platform:"),
        ["line 2, column 1: `nmae`: unknown key; did you mean `name`?", "`platform`: unknown key"],
    ),
    (
        "environment.yml",
        lambda text: text.replace("  - python", "\t- python"),
        ["line 11, column 1: a tab stands where YAML wants spaces"],
    ),
    ("environment.yml", conflict, ["line 1: a merge conflict marker", "take one side"]),
    ("environment.yml", lambda _: "", ["environment.yml`: the file is empty"]),
    ("conda-lock.yml", conflict, ["line 1: a merge conflict marker", "`envforge lock` again"]),
    ("conda-lock.yml", lambda _: "@EXPLICIT\nhttps://a.b/linux-64/a-1-0.conda\n", ["@EXPLICIT"]),
    ("conda-lock.yml", lambda _: PIXI, ["pixi", "a conda-lock.yml of version 1 is needed"]),
    ("conda-lock.yml", lambda text: text[:3000], ["conda-lock.yml`", "line 9", ", column "]),
    ("virtual-packages.yml", lambda _: "subdirs: 3\n", ["virtual-packages.yml`: line 1"]),
]


@pytest.mark.parametrize(
    ("file", "harm", "words"), FILES, ids=[f"{row[0]}-{i}" for i, row in enumerate(FILES)]
)
def test_a_broken_file(
    place: Place, folder: Path, file: str, harm: object, words: list[str]
) -> None:
    """`install --locked` refuses with the place of the mistake; `list` still lists."""
    path = folder / file
    path.write_text(harm(path.read_text()))  # type: ignore[operator]
    before = place.tree()

    done = place.run("install", folder.name, "--locked")

    assert done.status == 2, done.err
    for expected in words:
        assert expected in done.err, done.err
    assert str(path) in done.err
    assert "Traceback" not in done.err
    [row] = place.good("list").out.splitlines()[1:]
    assert " unreadable " in row
    assert place.tree() == before


def test_a_lock_of_another_tool_is_written_anew_on_request(place: Place, folder: Path) -> None:
    """As the hint says: `envforge lock`."""
    lock = folder / "conda-lock.yml"
    whole = lock.read_text()
    lock.write_text(PIXI)

    done = place.good("lock", folder.name)

    assert "warning:" in done.err
    assert "it is written anew" in done.err
    assert lock.read_text().splitlines()[:8] == whole.splitlines()[:8]
    place.good("install", folder.name, "--locked")


def test_a_name_that_is_nearly_right(place: Place, folder: Path) -> None:
    done = place.run("show", folder.name.replace("torch", "troch"))
    assert (done.status, f"hint: did you mean `{folder.name}`?" in done.err) == (2, True)
    assert place.good("show", "x").out.startswith(folder.name)  # the project's name will do


@pytest.mark.parametrize("named", ["", ".", "./", "/environment.yml"])
def test_a_folder_goes_by_its_path_too(place: Place, folder: Path, named: str) -> None:
    given = named if named in {".", "./"} else f"{folder}{named}"
    assert place.good("show", given, cwd=folder).out.startswith(folder.name)


# --- places that cannot be used ---------------------------------------------------------------


def test_a_file_where_the_envs_folder_belongs(place: Place, world: World) -> None:
    place.home.mkdir()
    place.envs.write_text("mine\n")
    before = place.tree()
    for command in (["create", "x", *world.pytorch_cuda.options], ["list"], ["show", "x"]):
        done = place.run(*command)
        assert done.status == 2
        assert f"`{place.envs}`: a file is where the folder of environments belongs" in done.err
        assert "`--envs`" in done.err
    assert place.tree() == before


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_something_else_where_the_environment_belongs(
    place: Place, world: World, kind: str
) -> None:
    place.home.mkdir()
    target = place.prefixes / world.pytorch_cuda.name("x")
    other = target / "thesis.tex" if kind == "folder" else target
    other.parent.mkdir(parents=True)
    other.write_text("work of years\n")
    before = place.tree()

    done = place.run("create", "x", *world.pytorch_cuda.options)

    assert done.status == 5
    assert f"`{target}`: is in the way" in done.err
    assert "`--prefix`" in done.err
    assert place.tree() == before


def without_privileges() -> list[str]:
    """A wrapper under which permission bits count, also for root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("as root, permission bits count under `setpriv` only")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]


def test_an_envs_folder_that_may_not_be_written(place: Place, world: World) -> None:
    place.home.mkdir()
    place.envs.mkdir(mode=0o555)
    before = place.tree()

    done = place.run("create", "x", *world.pytorch_cuda.options, wrapper=without_privileges())

    assert done.status == 7, done.err
    assert (
        f"cannot use `{place.envs / world.pytorch_cuda.name('x')}`: permission denied" in done.err
    )
    assert "with `--envs`" in done.err
    assert place.tree() == before


def mounted(folder: Path, options: str) -> list[str]:
    """A wrapper with a filesystem of its own at `folder`; tells afterwards what lies there."""
    script = (
        f'mount -t tmpfs -o {options} tmpfs "{folder}" && '
        f'{{ "$@"; status=$?; find "{folder}" -mindepth 1 >&2; exit $status; }}'
    )
    wrapper = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*wrapper, "true"], check=False).returncode
    ):
        pytest.skip("this machine lets us mount no filesystem")
    return wrapper


@pytest.mark.parametrize(
    ("options", "reason"), [("size=8k", "no space left on device"), ("ro", "read-only file system")]
)
def test_a_disk_that_takes_no_environment_folder(
    place: Place, world: World, options: str, reason: str
) -> None:
    """Full or read-only: no half of a folder is left, nor a temporary file."""
    place.home.mkdir()
    place.envs.mkdir()

    done = place.run("lock", "x", *world.pytorch_cuda.options, wrapper=mounted(place.envs, options))

    assert done.status == 7, done.err
    assert f"{world.pytorch_cuda.name('x')}" in done.err
    assert reason in done.err
    assert "hint:" in done.err
    assert f"\n{place.envs}/" not in done.err  # what `find` would have found


def test_a_disk_too_small_for_the_environment(place: Place, world: World) -> None:
    """Forecast before the first byte of it is written."""
    place.home.mkdir()
    place.prefixes.mkdir()

    done = place.run(
        *("create", "x", *world.pytorch_cuda.options),
        wrapper=mounted(place.prefixes, "size=8m"),
    )

    assert done.status == 5, done.err
    assert "8.4 MB free, and " in done.err
    assert " MB are needed" in done.err
    assert f"\n{place.prefixes}/" not in done.err


# --- channels -------------------------------------------------------------------------------


@pytest.fixture
def places(place: Place, server: ChannelServer) -> tuple[Place, ChannelServer]:
    """A server with faults, and everybody's caches."""
    place.variables["ENVFORGE_MIRROR"] = server.url
    return place, server


@pytest.fixture
def apart(place: Place, world: World) -> Iterator[tuple[Place, ChannelServer]]:
    """A server with faults, and caches that nobody else has filled."""
    with serve(world.root) as server:
        place.home.mkdir()
        place.variables |= {
            "ENVFORGE_MIRROR": server.url,
            "ENVFORGE_CACHE": str(place.folder / "cache"),
            "ENVFORGE_PACKAGE_CACHE": str(place.folder / "pkgs"),
        }
        yield place, server


def test_a_channel_that_is_down(apart: tuple[Place, ChannelServer], world: World) -> None:
    place, _ = apart
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    place.variables["ENVFORGE_MIRROR"] = f"http://127.0.0.1:{port}"
    done = place.run("create", "x", *world.pytorch_cuda.options)
    assert done.status == 7
    assert f"cannot read `http://127.0.0.1:{port}/" in done.err
    assert "nothing answers there (connection refused)" in done.err
    assert not place.envs.exists()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("500", ["the server failed (500"]),
        ("404", ["there is no such channel"]),
        ("truncated", ["the download broke off"]),
        ("html", ["is no channel metadata", "a login page"]),
        ("refuse", ["the download broke off"]),
        ("401", ["it asks for a login (401", "~/.netrc"]),
    ],
)
def test_metadata_that_cannot_be_had(
    apart: tuple[Place, ChannelServer], world: World, fault: Fault, words: list[str]
) -> None:
    """The channel is named, and nothing of the environment exists."""
    place, server = apart
    for end in ("repodata.json", ".zst", ".jlap", ".bz2"):
        server.faults[end] = fault

    done = place.run("create", "x", *world.pytorch_cuda.options)

    assert done.status == 7, done.err
    assert f"error: cannot read `{server.url}/" in done.err
    for expected in words:
        assert expected in done.err, done.err
    assert "hint:" in done.err
    assert not place.envs.exists()
    assert not place.prefixes.exists()


@pytest.mark.parametrize(
    ("fault", "status", "said"),  # the keys of `FRAGILE`: a package each, cached by nobody else
    [
        ("wrong-bytes", 5, "is not what the lock names: expected sha256 "),
        ("html", 5, "is not what the lock names"),
        ("truncated", 7, "broke off"),
        ("404", 7, "not there any more (404"),
    ],
)
def test_an_archive_that_cannot_be_had(
    places: tuple[Place, ChannelServer],
    world: World,
    fault: Fault,
    status: int,
    said: str,
) -> None:
    """Nothing of it is used; the environment is incomplete, and the same command ends the work."""
    place, server = places
    command = ("create", "x", *world.pytorch_cuda.options, "--with", f"fragile-{fault}")
    server.faults[f"fragile-{fault}-1.0-0.conda"] = fault
    server.ranges = False  # else what is cut short would be put together

    done = place.run(*command)

    assert done.status == status, done.err
    assert f"fragile-{fault}-1.0-0.conda" in done.err
    assert said in done.err, done.err
    assert place.good("list").out.splitlines()[1].endswith(" incomplete")

    server.faults.clear()
    place.good(*command)


def test_a_gpu_machine_described_from_a_login_node(place: Place, world: World) -> None:
    """`--driver` and `--gpu` count, and not what this machine has."""
    options = (*world.pytorch_cuda.options, "--dry-run")
    here = stub_driver(driver="440.33.01", cuda="10.2", gpus=[H200])
    refused = place.run("create", "x", *options, env=here)
    assert refused.status == 3
    described = ("--driver", "535.104.05", "--gpu", "H200")
    place.good("create", "x", *options, *described, env=here)
    warned = place.good("lock", "x", *options, env=here)
    assert "warning: driver 440.33.01 cannot run CUDA" in warned.err
    place.good("create", "x", *options, "--force", env=here)
