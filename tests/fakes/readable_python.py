"""An interpreter that other users can run, with all that this one can import.

Pythons of version managers lie in homes that nobody else may enter; such a one is linked, or where
that is another disk copied, into a folder that all may.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import envforge

NOBODY = 64999
_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def variables(python: Path) -> dict[str, str]:
    """What it needs to find its own libraries, and ours."""
    standard = str(Path(sys.base_prefix) / "lib" / _VERSION)
    ours = [str(Path(envforge.__file__).parents[1]), *sys.path]
    ours = [item for item in ours if "-packages" in item or not item.startswith(standard)]
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, dict.fromkeys(ours))),
        "LD_LIBRARY_PATH": str(python.parents[1] / "lib"),
        "PATH": os.environ["PATH"],
    }


def readable_python(folder: Path) -> Path | None:
    """The interpreter; None: there is no way.

    Args:
        folder: that others may enter; for the copy, where one is needed.
    """
    if _runs(Path(sys.executable)):
        return Path(sys.executable)
    base, copied = Path(sys.base_prefix), folder / "python"
    program = base / "bin" / _VERSION
    if not program.exists():
        return None
    (copied / "bin").mkdir(parents=True)
    (copied / "lib").mkdir()
    _link(str(program.resolve()), str(copied / "bin" / _VERSION))
    for library in (base / "lib").glob("libpython*"):
        _link(str(library), str(copied / "lib" / library.name))
    shutil.copytree(
        base / "lib" / _VERSION,
        copied / "lib" / _VERSION,
        copy_function=_link,
        ignore=shutil.ignore_patterns("test", "tests", "site-packages", "idlelib", "config-*"),
    )
    for made in [copied, *copied.rglob("*")]:
        if made.is_dir():
            made.chmod(0o755)
    made_here = copied / "bin" / _VERSION
    return made_here if _runs(made_here) else None


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy(source, target)
    return target


def _runs(python: Path) -> bool:
    try:
        done = subprocess.run(
            [python, "-c", "import envforge.forge, click, ssl"],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd="/",
            env=variables(python),
            capture_output=True,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0
