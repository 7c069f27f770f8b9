"""Where settings come from, and the other ways in: completion, the matrix, the library."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from e2e.world import PYTHON, Place, World
from fakes.channel_server import ChannelServer
from fakes.stub_driver import H200, V100, stub_driver


def test_condas_own_settings_decide_where_things_lie(
    place: Place, world: World, server: ChannelServer
) -> None:
    """`envs_dirs`, `pkgs_dirs` and a channel server of the site, with a password from netrc."""
    place.home.mkdir()
    server.password = "ann:secret"  # noqa: S105 - of a server that ends with the test
    for name in ("ENVFORGE_MIRROR", "ENVFORGE_PREFIXES", "ENVFORGE_PACKAGE_CACHE"):
        place.variables.pop(name, None)
    place.variables["ENVFORGE_PREFIXES"] = ""  # as if it were not set
    (place.home / ".condarc").write_text(
        f"channel_alias: {server.url}\nenvs_dirs: [{place.folder}/data/envs]\n"
        f"pkgs_dirs:\n  - {place.folder}/data/pkgs\n"
        f"custom_channels:\n  conda-forge: {server.url}\n  pytorch: {server.url}\n"
        f"  nvidia: {server.url}\n"
    )
    netrc = place.home / ".netrc"
    netrc.write_text("machine 127.0.0.1 login ann password secret\n")
    netrc.chmod(0o600)

    name = place.created(world.pytorch_cpu, "site")

    assert (place.folder / "data" / "envs" / name / "bin" / "python").exists()
    assert list((place.folder / "data" / "pkgs").glob("pytorch-*/info"))
    variables = place.good("run", name, "--", "env").out.splitlines()
    assert f"CONDA_DEFAULT_ENV={name}" in variables
    lock = (place.envs / name / "conda-lock.yml").read_text()
    assert "secret" not in lock
    assert "https://conda.anaconda.org/pytorch/" in lock


def test_the_nearer_setting_counts(place: Place) -> None:
    """Command line, then variable, then pyproject.toml."""
    (place.folder / "pyproject.toml").write_text('[tool.envforge]\nenvs = "from-file"\n')
    below = place.folder / "src"
    below.mkdir()
    said = {
        "file": place.good("list", cwd=below).out,
        "variable": place.good("list", env={"ENVFORGE_ENVS": "from-variable"}).out,
        "option": place.good("list", "--envs", "given", env={"ENVFORGE_ENVS": "v"}).out,
    }
    assert said == {
        "file": f"no environments in {place.folder}/from-file\n",
        "variable": f"no environments in {place.folder}/from-variable\n",
        "option": f"no environments in {place.folder}/given\n",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[tool.envforge]\nenv = "x"\n', ["tool.envforge.env: unknown key; did you mean `envs`?"]),
        ("[tool.envforge]\nenvs = 'x\n", ["pyproject.toml`: Expected"]),
        ('[tool.envforge]\noffline = "maybe"\n', ["`maybe` is neither true nor false"]),
    ],
)
def test_wrong_settings(place: Place, text: str, words: list[str]) -> None:
    (place.folder / "pyproject.toml").write_text(text)
    done = place.run("list")
    assert done.status == 2, done.err
    for expected in words:
        assert expected in done.err


def test_link_scripts_run_only_when_allowed(place: Place, world: World) -> None:
    options = (*world.forge_cuda.options, "--with", "scripted")
    careful = place.good("create", "careful", *options)
    assert "the post-link script of `scripted` was not run; `link-scripts` allows" in careful.err
    place.good("create", "trusting", *options, env={"ENVFORGE_LINK_SCRIPTS": "yes"})
    ran = [
        (place.prefixes / world.forge_cuda.name(project) / "share/scripted/ran").exists()
        for project in ("careful", "trusting")
    ]
    assert ran == [False, True]


def test_force_replaces_and_remove_asks(place: Place, world: World) -> None:
    name = place.created(world.forge_cuda, "x")
    more = ("--with", "greeter=1.3")
    assert place.run("create", "x", *world.forge_cuda.options, *more).status == 2
    place.good("create", "x", *world.forge_cuda.options, *more, "--force")
    assert place.good("run", name, "greet").out == "hello again\n"

    kept = place.run("remove", name, stdin="n\n")
    assert (kept.status, kept.out) == (0, "nothing was removed\n")
    assert (place.prefixes / name).is_dir()
    assert place.good("remove", name, "--dry-run").out == f"would remove {place.prefixes / name}\n"
    assert place.good("remove", name, stdin="y\n").out == f"removed {name}\n"
    assert not (place.prefixes / name).exists()


def test_an_environment_of_conda_is_left_alone(place: Place, world: World) -> None:
    name = world.forge_cuda.name("x")
    place.good("lock", "x", *world.forge_cuda.options)
    meta = place.prefixes / name / "conda-meta"
    meta.mkdir(parents=True)
    (meta / "history").write_text("==> 2024-01-01 00:00:00 <==\n")
    before = place.tree()
    for command in (["install", name], ["remove", name, "--yes"]):
        done = place.run(*command)
        assert (done.status, "envforge did not make" in done.err) == (5, True)
    assert place.tree() == before
    assert place.good("list").out.splitlines()[1].endswith("foreign")


def test_completion_in_a_real_shell(place: Place, world: World) -> None:
    """Sourced by bash, it offers commands, options and the names of environments."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    place.good("lock", "seen", *world.forge_cuda.options)
    script = place.good("completion", "bash").out
    program = place.folder / "bin" / "envforge"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m envforge "$@"\n')
    program.chmod(0o755)
    ask = (
        'COMP_WORDS=($1); COMP_CWORD=$2; COMP_LINE="$1"; _envforge_completion envforge;'
        ' echo "${COMPREPLY[@]}"'
    )
    env = {"PATH": f"{program.parent}:{os.environ['PATH']}"}

    def offered(line: str, word: int) -> list[str]:
        done = subprocess.run(
            ["bash", "--norc", "-c", f"{script}\n{ask}", "bash", line, str(word)],
            env=place.environment(env),
            cwd=place.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout.split()

    assert offered("envforge li", 1) == ["list"]
    assert offered("envforge show se", 2) == [world.forge_cuda.name("seen")]
    assert "--torch" in offered("envforge create x --to", 3)


def test_the_matrix_for_this_machine_and_another(place: Place) -> None:
    driver = stub_driver(driver="535.104.05", cuda="12.2", gpus=[H200, V100])
    here = place.good("matrix", "--torch", "2.0.1", "--here", "--json", env=driver).json
    assert here["machine"]["driver"] == "535.104.05"
    assert [gpu["capability"] for gpu in here["machine"]["gpus"]] == ["9.0", "7.0"]
    states = {cell["cuda"]: cell["state"] for cell in here["cells"] if cell["torch"] == "2.0.1"}
    assert states["11.8"] == "native"
    other = place.good("matrix", "--torch", "2.0.1", "--driver", "440.33", "--gpu", "V100").out
    assert "440.33" in other
    drawn = place.good("matrix", "--torch", "2.0", "--plot", "grid.svg")
    assert (place.folder / "grid.svg").read_text().startswith("<?xml")
    assert drawn.status == 0


def test_the_library_does_what_the_command_does(place: Place, world: World) -> None:
    """The README's example, on the local channel."""
    torch = world.forge_cuda
    program = (
        "import json\n"
        "from envforge import Forge\n"
        f'result = Forge().create("lib", torch="{torch.version}", cuda="{torch.cuda}",'
        f' source="conda-forge", python="{PYTHON}", packages=("greeter",))\n'
        "print(json.dumps([str(result.install.prefix), result.report.passed]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=place.environment(),
        cwd=place.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout) == [str(place.prefixes / torch.name("lib")), True]
    assert place.good("list").out.splitlines()[1].endswith("installed")


def test_the_version(place: Place) -> None:
    from envforge import __version__

    assert place.good("--version").out == f"envforge {__version__}\n"
