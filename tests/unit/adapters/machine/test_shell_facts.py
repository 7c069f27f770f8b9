"""What a shell's variables lead to, read from folders made for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.facts import prefix

from envforge.adapters.machine import shell_facts as shell
from envforge.adapters.machine.host_facts import shadowing_names
from envforge.adapters.process import RealProcesses
from envforge.verify.facts import PrefixFacts, ShellFacts


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def installed(folder: Path, **changes: object) -> PrefixFacts:
    (folder / "conda-meta").mkdir(parents=True, exist_ok=True)
    given = {"interpreter": None, "torch": None, "conda": (), "wheels": (), **changes}
    return prefix(prefix=str(folder), real=os.path.realpath(folder), **given)


def look(tmp_path: Path, at: PrefixFacts | None = None, **environment: str) -> ShellFacts:
    return shell.shell_facts(
        {"PATH": str(tmp_path / "empty"), **environment},
        prefix=at,
        capabilities=[],
        root=tmp_path / "machine",
        processes=RealProcesses(),
        thorough=True,
    )


def test_an_empty_shell(tmp_path: Path) -> None:
    """Nothing set, nothing there: nothing is claimed."""
    found = look(tmp_path, HOME="/home/ada", USER="ada")
    assert found.user == "ada"
    assert found.programs == found.foreign == found.activated == found.level_needs == ()
    assert found.toolkit is found.compiler is found.triton is None
    assert found.cpu_flags == frozenset()


def test_programs_on_path(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    real = program(tmp_path / "base" / "bin" / "python3.11")
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(real)
    (venv / "pyvenv.cfg").write_text(f"home = {real.parent}\nversion = 3.11.4\n")
    program(venv / "bin" / "pip", f"#!{venv}/bin/python\n")
    python, pip = look(tmp_path, PATH=f"{venv}/bin").programs
    assert (python.name, pip.name) == ("python", "pip")
    assert python.path == f"{venv}/bin/python"
    assert python.real == pip.interpreter == str(real)
    assert python.is_link_of == str(real.parent)
    assert python.interpreter is None or python.interpreter.endswith("sh")


@pytest.mark.parametrize(
    ("text", "interpreter"),
    [
        ("#!/x/bin/python3\n", "/x/bin/python3"),
        ("#!/bin/sh\n'''exec' \"/a long/bin/python\" \"$0\" \"$@\"\n' '''\n", "/a long/bin/python"),
        ("#!/bin/sh\n'''exec' /x/bin/python \"$0\" \"$@\"\n' '''\n", "/x/bin/python"),
        ("#!\n", None),
        ("", None),
        ("\x7fELF", None),
    ],
)
def test_first_lines_of_scripts(tmp_path: Path, text: str, interpreter: str | None) -> None:
    path = program(tmp_path / "bin" / "pip", text)
    [pip] = look(tmp_path, PATH=str(path.parent)).programs
    assert pip.interpreter == interpreter


def test_variables_that_lead_into_other_environments(tmp_path: Path) -> None:
    envs = tmp_path / "envs"
    own, other = installed(envs / "own"), installed(envs / "other")
    found = look(
        tmp_path,
        own,
        CUDA_HOME=str(envs / "gone"),
        CC=f"{other.prefix}/bin/gcc -O2",
        CFLAGS=f"-O2 -I{own.prefix}/include -isystem{other.prefix}/include",
        LDFLAGS=f"-L{own.prefix}/lib -Wl,-rpath,{own.prefix}/lib",
        NVCC_PREPEND_FLAGS="-ccbin=/usr/bin/g++",
        CXX="",
        CONDA_PREFIX=other.prefix,
    )
    told = {item.variable: item for item in found.foreign}
    assert set(told) == {"CUDA_HOME", "CC", "CFLAGS"}
    assert not told["CUDA_HOME"].exists
    assert not told["CUDA_HOME"].active
    assert told["CC"].prefix == other.real
    assert told["CC"].active
    assert told["CFLAGS"].path == f"{other.prefix}/include"


def test_a_folder_beside_environments_is_none(tmp_path: Path) -> None:
    """Only in `envs` is what is gone taken for an environment."""
    own = installed(tmp_path / "own")
    assert look(tmp_path, own, CUDA_HOME=str(tmp_path / "gone")).foreign == ()


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes somebody else for a while")
def test_folders_that_may_not_be_entered(tmp_path: Path) -> None:
    """Nothing is claimed of them, and nothing is raised."""
    closed = tmp_path / "closed"
    own = installed(closed / "own")
    tmp_path.chmod(0o755)
    closed.chmod(0o700)
    os.seteuid(65534)
    try:
        found = look(tmp_path, own, CUDA_HOME=f"{closed}/cuda", CC=f"{closed}/gcc", HOME="/h")
    finally:
        os.seteuid(0)
    assert found.foreign == ()
    assert found.triton is None


def test_the_processor(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "machine" / "proc" / "cpuinfo"
    cpuinfo.parent.mkdir(parents=True)
    cpuinfo.write_bytes(b"processor\t: 0\nmodel name\t: \xff\nflags\t\t: fpu avx\n\nflags\t: x\n")
    assert look(tmp_path).cpu_flags == {"fpu", "avx"}


def test_levels_that_records_ask_for(tmp_path: Path) -> None:
    from fakes.facts import installed as package
    from fakes.facts import locked

    names = [locked(name, "1") for name in ("a", "b", "gone", "x86_64-microarch-level")]
    own = installed(tmp_path / "own", conda=tuple(package(item) for item in names))
    meta = tmp_path / "own" / "conda-meta"
    (meta / "a-1-h0_0.json").write_text('{"depends": ["_x86_64-microarch-level >=3", "libc"]}')
    (meta / "b-1-h0_0.json").write_text('{"depends": ["libc"]}')
    assert look(tmp_path, own).level_needs == (("a", 3),)


# --- PYTHONPATH -----------------------------------------------------------------------------


def test_names_that_hide_others(tmp_path: Path) -> None:
    """A folder of data hides nothing, whatever it is called."""
    for path in ("one.py", "two/__init__.py", "three.so", "runs/log.txt", "both/data", "both.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    (tmp_path / "empty").mkdir()
    assert shadowing_names(str(tmp_path)) == {"one", "two", "three", "both", "empty"}
    assert shadowing_names(str(tmp_path / "gone")) == frozenset()


def test_names_in_an_egg(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.egg", "w") as egg:
        for name in ("numpy/__init__.py", "numpy/core.py", "six.py", "data/file.txt"):
            egg.writestr(name, "")
    assert shadowing_names(str(tmp_path / "x.egg")) == {"numpy", "six"}
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04")
    assert shadowing_names(str(tmp_path / "broken.zip")) == frozenset()
