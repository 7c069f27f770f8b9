"""The onboarding script, run by users who were never here before."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from e2e.world import Done, Place, World
from fakes.readable_python import variables

from envforge.adapters.publishing import freezing
from envforge.version import __version__

NEWCOMER = 64210
"""A user without an entry in any list of users, as from a company's directory that is down."""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")

State = dict[str, tuple[int, float, bytes | str]]


@dataclass
class Server:
    """A shared machine: channels, an environment's folder, and envforge on PATH."""

    root: Path
    name: str
    place: Place
    found: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.root / "home of 'ada'"

    @property
    def script(self) -> Path:
        return self.root / "onboarding.sh"

    def write(self, *settings: str) -> None:
        """The script, by whoever runs the server."""
        chosen = [
            item for setting in (f"envs={self.root}/envs", *settings) for item in ("--set", setting)
        ]
        self.place.good("export", self.name, "--to", "onboarding", *chosen, "-o", self.script)

    def run(self, *arguments: str, **more: str) -> Done:
        """The script, by the newcomer."""
        made = subprocess.run(
            ["sh", str(self.script), *arguments],
            user=NEWCOMER,
            group=NEWCOMER,
            extra_groups=[],
            umask=0o022,
            cwd="/",
            env={
                "HOME": str(self.home),
                "PATH": f"{self.root}/bin:/usr/bin:/bin",
                "SHELL": "/bin/bash",
                "ENVFORGE_MIRROR": str(self.root / "channels"),
                **self.more,
                **more,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        return Done(made.returncode, made.stdout, made.stderr)

    def good(self, *arguments: str, **more: str) -> Done:
        done = self.run(*arguments, **more)
        assert done.status == 0, f"{arguments}: {done.status}\n{done.out}\n{done.err}"
        return done

    def tree(self, *, caches: bool = True) -> State:
        """Everything in the home, with its mode, its time and its content."""
        found: State = {}
        for path in sorted(self.home.rglob("*")):
            name = str(path.relative_to(self.home))
            if not caches and Path(name).parts[0] == ".cache":
                continue
            status = path.lstat()
            if path.is_symlink():
                content: bytes | str = str(path.readlink())
            else:
                content = path.read_bytes() if path.is_file() else ""
            time = 0.0 if stat.S_ISDIR(status.st_mode) else status.st_mtime
            found[name] = (status.st_mode, time, content)
        return found


@pytest.fixture(scope="module")
def locked(
    tmp_path_factory: pytest.TempPathFactory, world: World, shared: Path
) -> tuple[Place, str]:
    """An environment that is locked, and installed nowhere."""
    place = Place.beside(tmp_path_factory.mktemp("locked"), world, shared)
    place.good("lock", "ward", *world.pytorch_cpu.options)
    return place, world.pytorch_cpu.name("ward")


@pytest.fixture
def server(open_folder: Path, open_python: Path, locked: tuple[Place, str], world: World) -> Server:
    place, name = locked
    shutil.copytree(world.root, open_folder / "channels", copy_function=link_or_copy)
    shutil.copytree(place.envs / name, open_folder / "envs" / name)
    made = Server(open_folder, name, place, put_envforge(open_folder / "bin", open_python))
    made.home.mkdir(mode=0o700)
    os.chown(made.home, NEWCOMER, NEWCOMER)
    (made.home / ".bashrc").write_text("alias ll='ls -l'")  # no line break at its end
    os.chown(made.home / ".bashrc", NEWCOMER, NEWCOMER)
    made.write()
    return made


def link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy(source, target)
    return target


def put_envforge(folder: Path, python: Path) -> Path:
    """A program that finds what this interpreter imports, and hands nothing of that on."""
    ours = variables(python)
    library = (
        f"LD_LIBRARY_PATH={shlex.quote(ours['LD_LIBRARY_PATH'])} "
        if str(python) != sys.executable
        else ""
    )
    paths = ours["PYTHONPATH"].split(os.pathsep)
    code = (
        f"import sys; sys.path[:0] = {paths!r}; from envforge.cli import main; main(sys.argv[1:])"
    )
    folder.mkdir()
    program = folder / "envforge"
    program.write_text(
        f'#!/bin/sh\n{library}exec {shlex.quote(str(python))} -c {shlex.quote(code)} "$@"\n'
    )
    program.chmod(0o755)
    return program


@pytest.mark.slow
def test_a_newcomer_is_set_up_once_and_again_without_change_and_taken_away(server: Server) -> None:
    before = server.tree()

    dry = server.good("--dry-run")
    assert dry.out.splitlines()[0] == f"{server.name}, for {NEWCOMER}"
    assert server.tree(caches=False) == before
    assert "would   install the environment" in dry.out

    first = server.good()
    after = server.tree(caches=False)
    assert f"made    the environment in {server.home}/.conda/envs/{server.name}" in first.out
    assert f"run {server.name} -- python" in first.out

    second = server.good()
    assert server.tree(caches=False) == after
    assert "made " not in second.out

    server.good("--undo")
    assert server.tree(caches=False) == before | {
        name: found for name, found in server.tree().items() if name == ".bashrc"
    }
    assert (server.home / ".bashrc").read_text().rstrip("\n") == "alias ll='ls -l'"
    assert server.good("--undo").out.startswith("nothing of")


@pytest.mark.slow
def test_a_kernel_for_notebooks_comes_and_goes(server: Server) -> None:
    server.good()
    [site] = (server.home / ".conda/envs" / server.name).glob("lib/python3*/site-packages")
    (site / "ipykernel").mkdir()
    (site / "ipykernel" / "__init__.py").touch()
    for path in (site / "ipykernel", site / "ipykernel" / "__init__.py"):
        os.chown(path, NEWCOMER, NEWCOMER)
    kernel = server.home / ".local/share/jupyter/kernels" / server.name / "kernel.json"

    server.run()
    spec = json.loads(kernel.read_text())
    assert spec["argv"][0] == f"{server.home}/.conda/envs/{server.name}/bin/python"
    before = kernel.stat().st_mtime_ns
    assert f"kept    the notebook kernel in {kernel.parent}" in server.run().out
    assert kernel.stat().st_mtime_ns == before

    server.good("--undo")
    assert sorted(path.name for path in server.home.iterdir()) == [".bashrc", ".cache"]


@pytest.mark.slow
def test_what_could_not_be_taken_away_is_tried_again(server: Server) -> None:
    """Without envforge on PATH nobody can say what belongs to an environment."""
    server.good()
    prefix = server.home / ".conda/envs" / server.name
    done = server.run("--undo", PATH="/usr/bin:/bin")
    assert (done.status, f"kept    {prefix}" in done.out) == (5, True), done.err
    assert prefix.is_dir()
    server.good("--undo")
    assert sorted(server.tree(caches=False)) == [".bashrc"]


@pytest.mark.slow
def test_everybody_s_environment_is_linked_and_stays_when_the_link_goes(server: Server) -> None:
    shared = server.root / "srv"
    shared.mkdir()
    published = server.place.good(
        "install", server.name, "--publish", shared, "--envs", server.root / "envs"
    )
    assert published.status == 0
    try:
        first = server.good("--shared", str(shared))
        link = server.home / ".conda/envs" / server.name
        assert link.readlink() == shared / server.name
        assert "which leads to" in first.out
        after = server.tree(caches=False)
        server.good("--shared", str(shared))
        assert server.tree(caches=False) == after
        server.good("--undo")
        assert not link.is_symlink()
        assert (shared / server.name / "conda-meta" / "history").exists()
    finally:
        freezing.thaw(shared)


@pytest.mark.parametrize(
    ("arguments", "variables", "status", "said"),
    [
        (["--dryrun"], {}, 2, "unknown argument `--dryrun`"),
        (["--shared"], {}, 2, "wants a folder"),
        ([], {"HOME": ""}, 2, "HOME names no folder"),
        ([], {"HOME": "/proc"}, 5, "cannot be written"),
        ([], {"ENVFORGE_ENVS": "/nonexistent"}, 5, "there is no lock to read"),
        ([], {"XDG_STATE_HOME": "relative"}, 2, "is no absolute path"),
        (["--shared", "/nonexistent"], {}, 5, "there is no environment at"),
    ],
)
def test_what_is_in_the_way_is_told(
    server: Server, arguments: list[str], variables: dict[str, str], status: int, said: str
) -> None:
    done = server.run(*arguments, **variables)
    assert (done.status, said in done.err) == (status, True), done.err


def test_root_is_no_user_of_a_server(server: Server) -> None:
    done = subprocess.run(
        ["sh", str(server.script)], capture_output=True, text=True, check=False, cwd="/"
    )
    assert (done.returncode, "root is none" in done.stderr) == (2, True)


def test_a_kernel_and_settings_of_the_user_s_own_stay(server: Server) -> None:
    settings = server.home / ".config/envforge/server.sh"
    settings.parent.mkdir(parents=True)
    settings.write_text("export ENVFORGE_ENVS=/mine\n")
    for path in (server.home / ".config", settings.parent, settings):
        os.chown(path, NEWCOMER, NEWCOMER)
    done = server.run()
    assert done.status == 5
    assert "is there, and is not ours" in done.err
    assert settings.read_text() == "export ENVFORGE_ENVS=/mine\n"


def test_a_full_disk_leaves_the_start_file_as_it_was(server: Server) -> None:
    """Half of our lines would break every new shell, and no later run would mend them."""
    start = server.home / ".bashrc"
    limit = 16  # blocks of 512 bytes: a write beyond them ends as on a full disk
    before = f"{'#' * (limit * 512 - 80)}\n"
    start.write_text(before)
    inner = server.script.rename(server.root / "inner.sh")
    server.script.write_text(
        f"trap '' XFSZ\nulimit -f {limit}\nexec sh {shlex.quote(str(inner))}\n"
    )
    done = server.run()

    assert done.status == 5
    assert f"`{start}` cannot be written" in done.err
    assert start.read_text() == before


def test_undo_takes_nothing_on_a_guess(server: Server) -> None:
    """Lines whose end somebody took away, and a line of the list that a full disk cut off."""
    start, share = server.home / ".bashrc", server.home / ".local" / "share"
    journal = server.home / ".local/state/envforge/onboarding" / server.name
    lines = "# >>> envforge onboarding >>>\n. server.sh\nexport MINE=1\n"
    start.write_text(lines)
    start.chmod(0o600)
    (share / "mine").mkdir(parents=True)
    journal.parent.mkdir(parents=True)
    journal.write_text(f"block {start}\ntool {share}\n")
    for path in server.home.rglob("*"):
        os.chown(path, NEWCOMER, NEWCOMER)
    done = server.run("--undo")
    assert (done.status, start.read_text()) == (5, lines)
    assert f"kept    {start}" in done.out
    assert (share / "mine").is_dir()

    start.write_text(f"alias a=b\n{lines}# <<< envforge onboarding <<<\nalias c=d\n")
    (share / "pyvenv.cfg").touch()
    server.good("--undo")
    assert (start.read_text(), share.exists()) == ("alias a=b\nalias c=d\n", False)
    assert sorted(path.name for path in server.home.iterdir()) == [".bashrc", ".local"]


@pytest.mark.slow
def test_undo_leaves_an_environment_that_was_there(server: Server) -> None:
    """Somebody's own of the same name, which cannot be entered."""
    prefix = server.home / ".conda/envs" / server.name
    (prefix / "conda-meta").mkdir(parents=True)
    (prefix / "conda-meta" / "history").touch()
    (prefix / "results").touch()
    for path in (server.home / ".conda", *(server.home / ".conda").rglob("*")):
        os.chown(path, NEWCOMER, NEWCOMER)
    (prefix / "conda-meta").chmod(0)
    assert server.run().status == 5
    (prefix / "conda-meta").chmod(0o755)
    server.good("--undo")
    assert (prefix / "results").exists()


def test_what_it_finds_is_told(server: Server) -> None:
    """A lock that moved, and files that everybody could change."""
    lock = server.root / "envs" / server.name / "conda-lock.yml"
    lock.write_text(f"{lock.read_text()}\n")
    server.script.write_text(server.script.read_text().replace("set -uf\n", "set -uf\numask 000\n"))
    done = server.good("--dry-run")
    assert "the lock has changed since this script was written" in done.out
    assert "umask 0000: everybody can change what you make" in done.out


@pytest.mark.slow
def test_without_envforge_it_gets_the_version_that_wrote_it(server: Server) -> None:
    """From a package index that has stand-ins: of it, and two of a package that it needs."""
    (server.root / "bin" / "envforge").rename(server.root / "envforge-itself")
    uv = server.root / "bin" / "uv"  # which would not read what pip is told of its index
    uv.write_text("#!/bin/sh\nexit 1\n")
    uv.chmod(0o755)
    wheel = stand_in_wheel(server.root / "wheels", server.root / "envforge-itself")
    (tested,) = re.findall(r"^click==(\S+)$", server.script.read_text(), re.MULTILINE)
    for version in (tested, "9999"):
        put_wheel(wheel.parent / f"click-{version}-py3-none-any.whl", {})
    more = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent), "PIP_CONFIG_FILE": os.devnull}
    python = shutil.which("python3", path="/usr/bin:/bin")
    if python is None or subprocess.run([python, "-c", "import ensurepip"], check=False).returncode:
        pytest.skip("the system's Python makes no environments")
    dry = server.good("--dry-run", **more)
    assert f"install envforge {__version__} into" in dry.out
    first = server.good(**more)
    assert f"made    envforge {__version__} in" in first.out
    (found,) = (server.home / ".local/share/envforge/tool").rglob("click-*.dist-info")
    assert found.name == f"click-{tested}.dist-info"
    assert "made " not in server.good(**more).out
    server.good("--undo", **more)
    assert not (server.home / ".local").exists()


def stand_in_wheel(folder: Path, program: Path) -> Path:
    """A wheel of envforge whose program is one that is there already; it needs click."""
    folder.mkdir()
    code = "import os, sys\ndef main():\n    os.execv(PROGRAM, [PROGRAM, *sys.argv[1:]])\n"
    code += f"PROGRAM = {str(program)!r}\n"
    path = folder / f"envforge-{__version__}-py3-none-any.whl"
    put_wheel(
        path,
        {
            "envforge_stand_in.py": code,
            "entry_points.txt": "[console_scripts]\nenvforge = envforge_stand_in:main\n",
        },
        needs="click",
    )
    return path


def put_wheel(path: Path, files: dict[str, str], needs: str = "") -> None:
    """A wheel of pure Python with these files; `entry_points.txt` goes into its metadata."""
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(f"{info}/{file}" if file == "entry_points.txt" else file, text)
        archive.writestr(
            f"{info}/METADATA", metadata + (f"Requires-Dist: {needs}\n" if needs else "")
        )
        archive.writestr(f"{info}/WHEEL", tag)
        archive.writestr(f"{info}/RECORD", "")
