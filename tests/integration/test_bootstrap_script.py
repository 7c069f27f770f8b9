"""bootstrap.sh with a stand-in for envforge, which notes how it is called; `sh` is the system's."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
from fakes.installing import conda_package
from fakes.packs import PackMaker, digest

SCRIPT = resources.files("envforge.adapters.pack").joinpath("bootstrap.sh").read_bytes()
_STAND_IN = """\
#!/bin/sh
echo "$@" >> "$HOME/calls"
case $1 in {failing}) exit 9 ;; esac
"""


def tool(failing: str = "nothing") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        data = _STAND_IN.format(failing=failing).encode()
        header = tarfile.TarInfo("bin/envforge")
        header.size, header.mode = len(data), 0o755
        tar.addfile(header, io.BytesIO(data))
    return stream.getvalue()


@pytest.fixture
def maker() -> PackMaker:
    """Two environments, and the tool."""
    return with_tool(tool())


def with_tool(data: bytes, *, models: bool = False) -> PackMaker:
    maker = PackMaker()
    maker.members = [
        ("bootstrap.sh", "bootstrap", SCRIPT),
        ("tool.sha256", "bootstrap", f"{digest(data)}  tool.tar\n".encode()),
        ("tool.tar", "tool", data),
    ]
    for name in ("a-torch27-cpu", "b-torch27-cpu"):
        maker.add_environment(name, [conda_package("numpy")], environment=f"name: {name}\n")
    if models:
        maker.members.append((f"models/{'a' * 64}", "model", b"weights"))
    return maker


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """As a person does it: the script is taken out by tar, and called with the file."""
    home = tmp_path / "home"
    home.mkdir()

    def call(
        maker: PackMaker, *arguments: str, below: str = ".", name: str = "", **variables: str
    ) -> object:
        (tmp_path / below).mkdir(exist_ok=True)
        maker.write(tmp_path / below / (name or "the pack.tar"))
        (tmp_path / below / "bootstrap.sh").write_bytes(SCRIPT)
        return subprocess.run(
            ["sh", "bootstrap.sh", *(arguments or ("the pack.tar",))],
            cwd=tmp_path / below,
            env={"HOME": str(home), "PATH": "/usr/bin:/bin", **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return call  # type: ignore[return-value]


def calls(tmp_path: Path) -> list[str]:
    path = tmp_path / "home" / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_it_unpacks_and_installs_every_environment(
    maker: PackMaker, run: Run, tmp_path: Path
) -> None:
    done = run(maker)

    assert done.returncode == 0, done.stderr
    assert calls(tmp_path) == [
        "--version",
        "unpack the pack.tar",
        "install --offline --locked a-torch27-cpu",
        "install --offline --locked b-torch27-cpu",
    ]
    laid = tmp_path / "home/.local/share/envforge/tool"
    assert f"run it: {laid}/bin/envforge run b-torch27-cpu -- python" in done.stdout
    assert sorted(path.name for path in laid.parent.iterdir()) == ["tool"]


def test_run_again_it_keeps_what_it_laid_out_and_another_tool_replaces_it(
    maker: PackMaker, run: Run, tmp_path: Path
) -> None:
    place = {"ENVFORGE_TOOL": str(tmp_path / "tool")}
    run(maker, **place)
    (tmp_path / "tool" / "mark").touch()

    assert "laying out" not in run(maker, **place).stderr
    assert (tmp_path / "tool" / "mark").exists()
    assert "laying out" in run(with_tool(tool("other")), **place).stderr
    assert not (tmp_path / "tool" / "mark").exists()


@pytest.mark.parametrize("name", ["host:p.tar", "-p.tar", "a\nb '\"$(touch x)`.tar"])
@pytest.mark.parametrize("below", [".", "we ird\n'\"$(touch x)`"])
def test_names_are_only_names(
    maker: PackMaker, run: Run, tmp_path: Path, name: str, below: str
) -> None:
    done = run(maker, name, name=name, below=below, HOME=str(tmp_path / below / "home"))

    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("x"))
    told = (tmp_path / below / "home" / "calls").read_text()
    assert f"unpack {'./' if name.startswith('-') else ''}{name}\n" in told


@pytest.mark.parametrize("place", ["-t", "below/", "below//", "deep/below/tool/"])
def test_any_place_will_do_for_the_tool(
    maker: PackMaker, run: Run, tmp_path: Path, place: str
) -> None:
    (tmp_path / "below").mkdir()

    assert run(maker, ENVFORGE_TOOL=place).returncode == 0
    assert (tmp_path / place / "bin" / "envforge").exists()
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_folder_that_holds_something_else_stays_as_it_is(
    maker: PackMaker, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()

    done = run(maker, ENVFORGE_TOOL=str(tmp_path / "mine"))

    assert done.returncode == 2
    assert "holds something else" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_shells_leftovers_do_not_steer_it(maker: PackMaker, run: Run, tmp_path: Path) -> None:
    hostile = f"--to-command=touch${{IFS}}{tmp_path}/ran"
    done = run(maker, TAR_OPTIONS=hostile, IFS="/", CDPATH="/usr", ENV="/nowhere", COLUMNS="1")

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_store_is_made_where_there_are_models(run: Run, tmp_path: Path) -> None:
    assert run(with_tool(tool(), models=True)).returncode == 0
    assert calls(tmp_path)[1] == "cache init"


def test_a_tool_with_other_bytes_is_not_run(maker: PackMaker, run: Run, tmp_path: Path) -> None:
    name, kind, _ = maker.members[1]
    maker.members[1] = (name, kind, f"{'0' * 64}  tool.tar\n".encode())

    done = run(maker)

    assert done.returncode == 5
    assert "other bytes than it should have" in done.stderr
    assert calls(tmp_path) == []
    assert not list((tmp_path / "home/.local/share/envforge").iterdir())


def test_a_pack_without_the_tool_says_so(maker: PackMaker, run: Run) -> None:
    maker.members = maker.members[3:]

    done = run(maker)

    assert done.returncode == 5
    assert "--no-bootstrap" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (("nowhere.tar",), 2, "there is no file"),
        (("the pack.tar", "more"), 2, "usage"),
        (("bootstrap.sh",), 5, "no pack"),
    ],
)
def test_what_is_no_pack_is_told(
    maker: PackMaker, run: Run, arguments: tuple[str, ...], status: int, why: str
) -> None:
    done = run(maker, *arguments)

    assert done.returncode == status
    assert why in done.stderr


def test_a_tar_without_environments_is_told(run: Run) -> None:
    done = run(PackMaker(members=[("models/a", "model", b"x")]))

    assert done.returncode == 5
    assert "it holds no environment" in done.stderr


def test_a_python_that_does_not_run_here_is_told(run: Run, tmp_path: Path) -> None:
    done = run(with_tool(tool("--version")))

    assert done.returncode == 7
    assert "does not run on this machine" in done.stderr


@pytest.mark.parametrize("step", ["unpack", "install"])
def test_what_fails_ends_it(run: Run, tmp_path: Path, step: str) -> None:
    done = run(with_tool(tool(step)))

    assert done.returncode == 9
    assert calls(tmp_path)[-1].startswith(step)
    assert "run it" not in done.stdout


def test_without_a_program_for_hashes_it_says_so_and_goes_on(
    maker: PackMaker, run: Run, tmp_path: Path
) -> None:
    """A system with the least: what the script calls, and nothing else."""
    import shutil

    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "tar", "sed", "rm", "mkdir", "cat", "cp", "mv", "rmdir"):
        (programs / name).symlink_to(shutil.which(name) or name)

    done = run(maker, PATH=str(programs))

    assert done.returncode == 0, done.stderr
    assert "the tool is not checked" in done.stderr
