from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest
from fakes.installing import conda_package, wheel

from envforge.adapters.bytecode import EnvironmentCompiler
from envforge.adapters.process import RealProcesses

SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
GREETER = conda_package(
    "greeter", url="https://conda.anaconda.org/conda-forge/noarch/greeter-1.0-0.conda"
)
TORCH = wheel("torch")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """An environment whose interpreter is ours, with a noarch package and a wheel."""
    path = tmp_path / "env"
    (path / "conda-meta").mkdir(parents=True)
    (path / "bin").mkdir()
    (path / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    version = ".".join(map(str, sys.version_info[:3]))
    for name, facts in {
        "python": {"version": version},
        "greeter": {"version": "1.0", "noarch": "python", "files": [f"{SITE}/greeter.py"]},
    }.items():
        record = {"name": name, "build": "0", **facts}
        (path / "conda-meta" / f"{name}-{record['version']}-0.json").write_text(
            json.dumps(record, indent=2)
        )
    folder = path / SITE / "torch-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Name: torch\nVersion: 1.0\n")
    (folder / "RECORD").write_text("torch.py,,\nbroken.py,,\ngone.py,,\n")
    for name, text in {"greeter": "x = 1", "torch": "y = 2", "broken": "def"}.items():
        (path / SITE / f"{name}.py").write_text(text)
    return path


def compiled(prefix: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in prefix.rglob("*.pyc")}


def compiler() -> EnvironmentCompiler:
    return EnvironmentCompiler(RealProcesses(), 2)


def test_on_the_spot(prefix: Path) -> None:
    """What does not compile, and what has gone, is left alone."""
    assert compiler().compile(prefix, [GREETER, TORCH], wait=True) == "compiled"
    assert compiled(prefix) == {"greeter", "torch"}


def test_in_the_background(prefix: Path) -> None:
    assert compiler().compile(prefix, [GREETER, TORCH], wait=False) == "background"

    deadline = time.monotonic() + 20
    while compiled(prefix) != {"greeter", "torch"}:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_only_what_came(prefix: Path) -> None:
    compiler().compile(prefix, [TORCH], wait=True)
    assert compiled(prefix) == {"torch"}


def test_tracebacks_name_the_real_file(prefix: Path) -> None:
    compiler().compile(prefix, [TORCH], wait=True)
    [found] = prefix.rglob("torch.*.pyc")
    assert str(prefix / SITE / "torch.py").encode() in found.read_bytes()


def test_what_is_current_is_not_compiled_again(prefix: Path) -> None:
    compiler().compile(prefix, [TORCH], wait=True)
    [found] = prefix.rglob("torch.*.pyc")
    before = found.stat().st_mtime_ns, found.stat().st_ino
    compiler().compile(prefix, [TORCH], wait=True)
    assert (found.stat().st_mtime_ns, found.stat().st_ino) == before

    (prefix / SITE / "torch.py").write_text("y = 2222")
    compiler().compile(prefix, [TORCH], wait=True)
    assert found.stat().st_ino != before[1]


def test_without_an_interpreter_or_modules_there_is_nothing_to_do(prefix: Path) -> None:
    assert compiler().compile(prefix, [conda_package("zlib")], wait=True) == "skipped"
    (prefix / "bin" / "python").unlink()
    assert compiler().compile(prefix, [TORCH], wait=True) == "skipped"
