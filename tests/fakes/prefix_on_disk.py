"""Prefixes forged on disk: real files that the real collectors read, without a solver."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from envforge.model.lock import LockedPackage

SITE = "lib/python3.10/site-packages"


def forge_prefix(
    root: Path,
    packages: tuple[LockedPackage, ...],
    *,
    torch: Mapping[str, str | None] | None = None,
    cuda_library: bool = True,
) -> Path:
    """Write records, dist-infos and torch's files for these packages.

    `torch` becomes torch/version.py: `{"__version__": "2.0.1", "cuda": "11.8"}`.
    """
    site = root / SITE
    (root / "conda-meta").mkdir(parents=True)
    (root / "bin").mkdir()
    (root / "bin" / "python").write_text("not a program\n")
    site.mkdir(parents=True)
    for package in packages:
        if package.manager == "conda":
            add_record(root, package)
        else:
            add_wheel(root, package.name, package.version)
    if torch is not None:
        add_torch(root, torch, cuda_library=cuda_library)
    return root


def add_record(root: Path, package: LockedPackage, files: Mapping[str, int] | None = None) -> Path:
    """A conda-meta record, indented as conda and rattler write it; `files` is path to size."""
    paths = [
        {"_path": path, "path_type": "hardlink", "sha256": "0" * 64, "size_in_bytes": size}
        for path, size in sorted((files or {}).items())
    ]
    record = {
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "url": package.url,
        "sha256": package.sha256,
        "files": [item["_path"] for item in paths],
        "paths_data": {"paths_version": 1, "paths": paths},
    }
    path = root / "conda-meta" / f"{package.name}-{package.version}-{package.build}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    return path


def add_wheel(
    root: Path,
    name: str,
    version: str,
    files: Mapping[str, int] | None = None,
    installer: str = "uv",
) -> Path:
    """A dist-info as uv leaves it; `files` go into RECORD."""
    folder = root / SITE / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "INSTALLER").write_text(installer)
    rows = [f"{path},sha256=abc,{size}" for path, size in (files or {}).items()]
    (folder / "RECORD").write_text("\n".join([*rows, f"{folder.name}/RECORD,,"]) + "\n")
    return folder


def add_torch(root: Path, values: Mapping[str, str | None], *, cuda_library: bool = True) -> Path:
    """torch/version.py as torch's build writes it, and the libraries by name."""
    folder = root / SITE / "torch"
    (folder / "lib").mkdir(parents=True)
    lines = ["from typing import Optional", ""]
    lines += [f"{name}: Optional[str] = {value!r}" for name, value in values.items()]
    (folder / "version.py").write_text("\n".join(lines) + "\n")
    (folder / "__init__.py").write_text("")
    (folder / "lib" / "libtorch_cpu.so").write_bytes(b"\x7fELF")
    if cuda_library:
        (folder / "lib" / "libtorch_cuda.so").write_bytes(b"\x7fELF")
    return folder
