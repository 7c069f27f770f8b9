"""The whole life of an environment, as a person types it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.world import Place, World
from fakes.channel_server import ChannelServer
from fakes.stub_driver import H200, stub_driver


def inodes(prefix: Path) -> dict[str, int]:
    """Each regular file of an environment, and which file of the disk it is."""
    return {
        str(path.relative_to(prefix)): path.stat().st_ino
        for path in prefix.rglob("*")
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts
    }


def packages_of(prefix: Path) -> list[str]:
    return sorted(path.stem for path in (prefix / "conda-meta").glob("*.json"))


@pytest.mark.parametrize("which", ["pytorch_cuda", "pytorch_cpu", "forge_cuda"])
def test_create_run_list_show_verify_remove(
    place: Place, world: World, server: ChannelServer, which: str
) -> None:
    """The main job over HTTP: a CUDA and a CPU build of the pytorch channel, conda-forge's."""
    torch = world.build(which)
    name = torch.name("nlp-bert")
    place.variables["ENVFORGE_MIRROR"] = server.url

    created = place.good("create", "nlp-bert", *torch.options, "--with", "greeter=1.2")
    assert f"torch {torch.version}, {'CUDA ' + torch.cuda if torch.cuda else 'CPU'}" in created.out
    assert re.search(rf"^{name}: ok \(\d+ checks passed", created.out, re.MULTILINE)
    assert f"next: envforge run {name} -- python" in created.out
    assert sorted(path.name for path in (place.envs / name).iterdir()) == [
        "conda-lock.yml",
        "environment.yml",
        "virtual-packages.yml",
    ]
    lock = (place.envs / name / "conda-lock.yml").read_text()
    assert "https://conda.anaconda.org/conda-forge/" in lock
    assert "127.0.0.1" not in lock

    imported = place.good("run", name, "--", "python", "-c", "import torch; print(torch.version)")
    assert f"/prefixes/{name}/lib/python" in imported.out
    assert place.good("run", name, "greet").out == "hello\n"

    [row] = place.good("list").out.splitlines()[1:]
    assert row.split() == [
        *(name, torch.version, torch.cuda or "cpu"),
        *(".".join(map(str, sys.version_info[:3])), "current", "installed"),
    ]
    shown = place.good("show", name, "--packages").out
    assert re.search(r"^  lock +current$", shown, re.MULTILINE)
    assert re.search(rf"^  pytorch {torch.version} \S+$", shown, re.MULTILINE)

    report = place.good("verify", name, "--json").json
    assert (report["schema"], report["passed"]) == ("envforge.verify/1", True)
    assert report["reports"][0]["proven"]["torch"] == f"{torch.version}, imported"
    assert report["reports"][0]["findings"] == []

    done = place.good("remove", name, "--yes")
    assert done.out == f"removed {name}\n"
    assert not (place.prefixes / name).exists()
    assert (place.envs / name).is_dir()
    assert place.good("list").out.splitlines()[1].split()[-1] == "no"
    assert "nothing is installed" in place.good("remove", name, "--yes").out
    place.good("remove", name, "--yes", "--folder")
    assert place.good("list").out == f"no environments in {place.envs}\n"


def test_the_environment_is_one_that_conda_would_have_made(place: Place, world: World) -> None:
    """Registered, with whole records, history and no trace of where it was read from."""
    name = place.created(world.pytorch_cuda, "demo", "--with", "placeheld", "--with", "pip")
    prefix = place.prefixes / name

    assert "No broken requirements" in place.good("run", name, "--", "pip", "check").out

    assert (place.home / ".conda" / "environments.txt").read_text() == f"{prefix}\n"
    history = (prefix / "conda-meta" / "history").read_text()
    assert "conda-forge/linux-64::placeheld-1.0-0" in history
    assert f'"pytorch::pytorch={world.pytorch_cuda.version}=*cuda' in history
    record = (prefix / "conda-meta" / "placeheld-1.0-0.json").read_text()
    assert '"url": "https://conda.anaconda.org/conda-forge/' in record
    assert str(world.root) not in record
    held = (prefix / "bin" / "placeheld").read_text()
    assert f"echo {prefix}/share/placeheld" in held


def test_a_second_environment_shares_every_file(place: Place, world: World) -> None:
    one = place.prefixes / place.created(world.pytorch_cpu, "one")
    two = place.prefixes / place.created(world.pytorch_cpu, "two")

    first, second = inodes(one), inodes(two)
    shared = {path for path in second if first.get(path) == second[path]}
    assert len(shared) > 0.95 * len(second)
    written = ("conda-meta/", "etc/envforge/")  # by the install itself, as its hooks for conda
    own = {path for path in set(second) - shared if not path.startswith(written)}
    own = {path for path in own if not path.startswith("etc/conda/") or "/envforge." not in path}
    assert own == set()


# --- harm and repair ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def harmed(
    tmp_path_factory: pytest.TempPathFactory, world: World, shared: Path
) -> tuple[Place, str]:
    """One environment that tests may harm, as each leaves it mended."""
    place = Place.beside(tmp_path_factory.mktemp("harmed"), world, shared)
    place.variables["ENVFORGE_PACKAGE_CACHE"] = str(place.folder / "pkgs")  # is harmed, too
    return place, place.created(world.pytorch_cuda, "harmed", "--with", "greeter=1.2")


def module(prefix: Path) -> Path:
    [found] = prefix.glob("lib/python3*/site-packages/greeter/__init__.py")
    return found


@pytest.mark.parametrize(
    ("harm", "finding", "said"),
    [
        (
            lambda prefix: (prefix / "bin" / "greet").unlink(),
            "files-unlike-recorded",
            ["~ greeter 1.2 (repaired)"],
        ),
        (
            lambda prefix: module(prefix).write_text("edited = True\n"),
            "edited-file-in-prefix",
            ["~ greeter 1.2 (repaired)"],
        ),
        (
            lambda prefix: shutil.rmtree(module(prefix).parents[1] / "torch"),
            "torch-missing",
            ["~ pytorch", "(repaired)"],
        ),
        (
            lambda prefix: (prefix / "conda-meta" / "greeter-1.2-pyh0_0.json").write_text("{"),
            "metadata-broken",
            ["+ greeter 1.2"],
        ),
        (
            lambda prefix: (prefix / "conda-meta" / "cuda-cudart-11.8.89-0.json").unlink(),
            "lock-drift",
            ["+ cuda-cudart 11.8.89"],
        ),
    ],
    ids=["file-gone", "file-edited", "folder-gone", "record-cut", "record-gone"],
)
def test_verify_finds_harm_and_install_repairs_it_by_the_smallest_change(
    harmed: tuple[Place, str], harm: object, finding: str, said: list[str]
) -> None:
    place, name = harmed
    if "cudart" in said[0] and sys.version_info >= (3, 12):
        pytest.skip("the channel for this Python has another CUDA")
    harm(place.prefixes / name)  # type: ignore[operator]

    found = place.run("verify", name, "--json")
    findings = found.json["reports"][0]["findings"]
    [first, *_] = [item for item in findings if item["check"] == finding]
    assert found.status == (1 if first["severity"] == "error" else 0)
    assert any(item["remedy"].endswith(f"envforge install {name}") for item in findings)

    repaired = place.good("install", name)
    for words in said:
        assert words in repaired.err
    assert "differs from its lock; this changes:" in repaired.err
    assert "5 packages stay" in repaired.err

    assert place.good("verify", name).out.startswith(f"{name}: ok")
    assert place.good("install", name).out.startswith("as locked ")


def test_what_another_tool_changed_is_put_back(harmed: tuple[Place, str], world: World) -> None:
    """A package in another version, by its own lock: `install` goes back to ours."""
    place, name = harmed
    folder = place.envs / name
    kept = {path.name: path.read_text() for path in folder.iterdir()}
    place.good("add", name, "greeter=1.3")
    for file, text in kept.items():
        (folder / file).write_text(text)

    found = place.run("verify", name)
    assert found.status == 1
    assert "1 package installed in another version or build [lock-drift]" in found.out
    assert place.good("list").out.splitlines()[1].endswith("differs from lock")
    planned = place.good("install", name, "--dry-run")
    assert "  ~ greeter 1.3 -> 1.2\n  5 packages stay\n" in planned.out

    repaired = place.good("install", name)
    assert "note:   ~ greeter 1.3 -> 1.2\nnote:   5 packages stay\n" in repaired.err
    place.good("verify", name, "--level", "static")


# --- changing what is asked for -------------------------------------------------------------


def test_add_locks_again_and_installs_the_difference(place: Place, world: World) -> None:
    name = place.created(world.pytorch_cuda, "grows", "--with", "greeter=1.2")

    added = place.good("add", name, "placeheld")

    assert "note:   + placeheld 1.0 0\nnote:   6 packages stay\n" in added.err
    written = (place.envs / name / "environment.yml").read_text()
    assert "  - greeter=1.2\n" in written
    assert "  - placeheld=1.0  # asked: any\n" in written
    assert place.good("run", name, "printenv", "PLACEHELD_ACTIVE").out == "1\n"

    unknown = place.run("add", name, "placehelt")
    assert (unknown.status, "did you mean `placeheld`?" in unknown.err) == (4, True)
    assert (place.envs / name / "environment.yml").read_text() == written


def test_a_stale_lock(place: Place, world: World) -> None:
    """CI (`--locked`) refuses it with 4; a person's `install` locks again and says so."""
    name = place.created(world.pytorch_cuda, "edited", "--with", "greeter=1.2")
    spec = place.envs / name / "environment.yml"
    spec.write_text(spec.read_text().replace("greeter=1.2", "greeter=1.3"))
    before = place.tree()

    for option in ("--locked", "--dry-run"):
        refused = place.run("install", name, option)
        assert refused.status == 4
        assert "conda-lock.yml` is not current" in refused.err
        assert f"hint: `envforge lock {name}`, and commit the result" in refused.err
    assert place.tree() == before
    assert "stale" in place.good("list").out.splitlines()[1].split()

    mended = place.good("install", name)
    assert "locking again" in mended.err
    assert "note:   ~ greeter 1.2 -> 1.3\n" in mended.err
    place.good("install", name, "--locked")


def test_a_lock_alone_installs(place: Place, world: World) -> None:
    """What a cluster gets: conda-lock.yml and nothing beside it."""
    name = world.pytorch_cuda.name("alone")
    place.good("lock", "alone", *world.pytorch_cuda.options)
    (place.envs / name / "environment.yml").unlink()
    (place.envs / name / "virtual-packages.yml").unlink()

    place.good("install", name, "--locked")

    assert place.good("verify", name).out.startswith(f"{name}: ok")
    assert place.good("list").out.splitlines()[1].split()[-2:] == ["current", "installed"]
    assert place.good("show", name).status == 0
    refused = place.run("lock", name)
    assert (refused.status, "environment.yml`: it does not exist" in refused.err) == (2, True)


def test_the_same_request_again_changes_nothing_and_another_is_refused(
    place: Place, world: World
) -> None:
    name = place.created(world.forge_cuda, "same")
    before = place.tree()

    again = place.good("create", "same", *world.forge_cuda.options)
    assert "is locked already, and current" in again.err
    assert again.out.splitlines()[0].startswith("unchanged ")
    assert "as locked " in again.out

    other = place.run("create", "same", *world.forge_cuda.options, "--with", "greeter")
    assert other.status == 2
    assert "packages: none, now greeter" in other.err
    assert "`--force`" in other.err
    assert place.tree() == before
    assert name in place.good("list").out


def test_the_mirror_is_gone_and_the_cache_serves(
    place: Place, world: World, server: ChannelServer
) -> None:
    """Offline, a lock installs from the package cache; what is not cached is named."""
    place.variables["ENVFORGE_MIRROR"] = server.url
    place.variables["ENVFORGE_PACKAGE_CACHE"] = str(place.folder / "pkgs")
    name = place.created(world.forge_cuda, "offline")
    place.good("remove", name, "--yes")
    place.good("lock", "other", *world.pytorch_cpu.options)
    other = world.pytorch_cpu.name("other")
    server.faults[""] = "refuse"
    asked = server.requests.total()

    again = place.good("install", name, "--offline")
    assert "0 archives fetched" in again.out
    place.good("verify", name, "--level", "static")
    missing = place.run("install", other, "--offline")
    assert missing.status == 7
    assert "not in the package cache" in missing.err
    assert f"pytorch-{world.pytorch_cpu.version}" in missing.err
    assert not (place.prefixes / other).exists()
    assert server.requests.total() == asked


@pytest.mark.parametrize("prefix", ["elsewhere", "up/../deep/place with blank"])
def test_an_environment_at_another_place_is_found_again(
    place: Place, world: World, prefix: str
) -> None:
    name = place.created(world.forge_cuda, "moved", "--with", "greeter=1.2", "--prefix", prefix)
    there = Path(os.path.normpath(place.folder / prefix))

    assert (place.home / ".conda" / "environments.txt").read_text() == f"{there}\n"
    assert place.good("run", name, "greet").out == "hello\n"
    assert f"\n  {there}\n" in place.good("verify", name, "--level", "static").out
    assert place.good("list").out.splitlines()[1].endswith(" installed")
    assert place.good("install", name).out.startswith(f"as locked {there}")
    place.good("remove", name, "--yes")
    assert not there.exists()
    assert (place.home / ".conda" / "environments.txt").read_text() == ""


def test_what_changes_is_shown_before_it_is_done(place: Place, world: World) -> None:
    """`--dry-run` everywhere: the plan, and nothing written."""
    options = (*world.pytorch_cuda.options, "--dry-run")
    before = place.tree()

    planned = place.good("create", "dry", *options)
    assert f"would lock {place.envs / world.pytorch_cuda.name('dry')}: 5 packages" in planned.out
    assert f"+ pytorch {world.pytorch_cuda.version}" in planned.out
    document = place.good("create", "dry", *options, "--json").json
    assert document["planned"]["state"] == "absent"
    assert document["planned"]["forecast"]["inodes"] > 10
    assert place.good("lock", "dry", *options).out.startswith("would lock ")
    assert place.tree() == before


# --- inside ---------------------------------------------------------------------------------


def test_run_hands_over_status_signals_and_streams(settled: tuple[Place, str]) -> None:
    place, name = settled
    assert place.run("run", name, "--", "python", "-c", "raise SystemExit(41)").status == 41
    assert place.run("run", name, "--", "sh", "-c", "kill -TERM $$").status == -15
    echoed = place.run("run", name, "--", "sh", "-c", "cat; echo aside >&2", stdin="in\n")
    assert (echoed.status, echoed.out, echoed.err) == (0, "in\n", "aside\n")
    with place.start("run", name, "--", "sh", "-c", "echo up; exec sleep 60") as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.wait(10) == -15

    variables = place.good("run", name, "--", "env").out.splitlines()
    prefix = place.prefixes / name
    assert f"CONDA_PREFIX={prefix}" in variables
    assert f"CONDA_DEFAULT_ENV={prefix}" in variables
    [path] = [line for line in variables if line.startswith("PATH=")]
    assert path.startswith(f"PATH={prefix}/bin:")

    wrong = place.run("run", name, "--", "pyton")
    assert wrong.status == 7
    assert "hint: did you mean `python`?" in wrong.err


SHELLS = {
    "bash": 'eval "$(ENVFORGE activate NAME --shell bash)"',
    "zsh": 'eval "$(ENVFORGE activate NAME --shell zsh)"',
    "fish": "ENVFORGE activate NAME --shell fish | source",
    "pwsh": "ENVFORGE activate NAME --shell powershell | Out-String | Invoke-Expression",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_activate_in_a_real_shell(settled: tuple[Place, str], shell: str) -> None:
    """Entered and left again: the variables are as before."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    place, name = settled
    enter = SHELLS[shell].replace("ENVFORGE", f"{sys.executable} -m envforge")
    show = "sh -c 'echo \"[$CONDA_PREFIX] $(command -v python)\"'"
    script = f"{show}\n{enter.replace('NAME', name)}\n{show}\ndeactivate_envforge\n{show}\n"
    quiet = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"], "pwsh": ["-NoProfile"]}

    done = subprocess.run(
        [program, *quiet[shell], "-c" if shell != "pwsh" else "-Command", script],
        env=place.environment(),
        cwd=place.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    prefix = place.prefixes / name
    assert done.stderr == ""
    before, inside, after = done.stdout.splitlines()
    assert inside == f"[{prefix}] {prefix}/bin/python"
    assert before == after
    assert before.startswith("[] ")


# --- a machine with a GPU -------------------------------------------------------------------


def test_cuda_auto_takes_what_the_driver_runs_and_verify_goes_live(
    place: Place, world: World
) -> None:
    """On the stub driver: an H200 machine, where the torch stand-in computes."""
    torch = world.pytorch_cuda
    if torch.cuda != "11.8":
        pytest.skip("the channel for this Python lacks the newest CUDA of its torch")
    driver = stub_driver(driver="535.104.05", cuda="12.2", gpus=[H200])
    asked = ("--torch", torch.version, "--cuda", "auto", *torch.options[4:])

    created = place.run("create", "auto", *asked, env=driver)

    assert created.status == 0, created.out + created.err
    assert f"torch {torch.version}, CUDA {torch.cuda}" in created.out
    assert "checks passed at level live" in created.out
    assert re.search(r"^  GPU 0 +NVIDIA H200 \(9\.0\)", created.out, re.MULTILINE)
    assert "driver" not in created.out.partition("not proven")[2]

    hidden = {**driver, "CUDA_VISIBLE_DEVICES": ""}
    blind = place.run("verify", torch.name("auto"), "--require-gpu", "--json", env=hidden)
    assert blind.status == 1
    assert "cvd-empty-or-invalid" in blind.out
