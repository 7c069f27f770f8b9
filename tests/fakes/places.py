"""What pytest's own folders are not: open to other users, on another disk, on a small one."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.forks import Forks
from fakes.readable_python import readable_python, variables


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter."""
    with tempfile.TemporaryDirectory(prefix="envforge-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def open_python() -> Iterator[Path]:
    """An interpreter that other users can run."""
    with tempfile.TemporaryDirectory(prefix="envforge-python-") as name:
        Path(name).chmod(0o755)
        found = readable_python(Path(name))
        if found is None:
            pytest.skip("other users cannot read this interpreter")
        yield found


@pytest.fixture(scope="session")
def others(open_python: Path) -> Iterator[Forks]:
    """Runs code as any user."""
    imports = "import envforge.cli, envforge.models, envforge.forge.caching.front"
    with Forks(imports, python=open_python, env=variables(open_python)) as forks:
        yield forks


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another filesystem than `tmp_path`."""
    shared = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
    if not os.access(shared, os.W_OK) or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second filesystem")
    with tempfile.TemporaryDirectory(dir=shared, prefix="envforge-test-") as name:
        yield Path(name)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a filesystem of its own, with these options of tmpfs."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts filesystems")
    place = tmp_path / "disk"
    mounted = []

    def mount(options: str) -> Path:
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no tmpfs here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
