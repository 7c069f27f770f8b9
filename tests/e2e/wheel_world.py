"""Package indexes for the end-to-end tests: torch for the CPU and for CUDA 12.6, and the rest."""

from __future__ import annotations

import ensurepip
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from e2e.world import STAND_IN, torch_version_module
from fakes.wheels import build_wheel, write_index

TORCH = "2.7.1"
_CP = f"cp{sys.version_info[0]}{sys.version_info[1]}"
_LINUX = f"{_CP}-{_CP}-manylinux_2_28_{os.uname().machine}"


@dataclass(frozen=True)
class WheelWorld:
    """Folders below `root`, each fit to be served as an index or used as find-links.

    `default` has everything but torch, `cpu` and `cu126` nothing but torch, `site` both with
    torch for the CPU; `links` holds the same files as `site`, without an index.
    """

    root: Path

    def pip(self, index: str) -> dict[str, str]:
        """Variables under which pip, and so envforge, is configured with this index alone."""
        return {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index}


def build_wheels(root: Path) -> None:
    """Make all of it."""
    for name, label in (("cpu", None), ("cu126", "12.6")):
        write_index(root / name, [_torch(root / name, label)])
    write_index(root / "default", _others(root / "default"))
    write_index(root / "site", [*_others(root / "site"), _torch(root / "site", None)])
    _others(root / "links")
    _torch(root / "links", None)


def _torch(folder: Path, cuda: str | None) -> Path:
    label = f"cu{cuda.replace('.', '')}" if cuda else "cpu"
    version = f"{TORCH}+{label}"
    return build_wheel(
        folder,
        "torch",
        version,
        tag=_LINUX,
        requires=["shout>=1"],
        requires_python=">=3.9",
        modules={
            "torch/__init__.py": STAND_IN.read_text(),
            "torch/version.py": torch_version_module(version, cuda, "9.5.1" if cuda else None),
            "torch/lib/libtorch_cuda.so" if cuda else "torch/lib/libtorch_cpu.so": "stand-in\n",
        },
    )


def _others(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    [bundled] = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    shout = build_wheel(
        folder,
        "shout",
        "1.4",
        modules={"shout.py": "def main():\n    print('HELLO')\n"},
        scripts={"shout": "shout:main"},
    )
    quiet = build_wheel(folder, "quiet", "0.3", requires=["shout"])
    return [Path(shutil.copy(bundled, folder)), shout, quiet]
