"""Prefixes forged on disk: real files that the real collectors read, without a solver."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envforge.model.lock import LockedPackage

SITE = "lib/python3.10/site-packages"
PLACEHOLDER = "/opt/placehold_placehold_placehold"

Content = int | str | bytes
"""Of a file: bytes or text to write, or only the size that is recorded, and no file at all."""


def site_of(python: str = "3.10") -> str:
    """site-packages of a Python, relative to the prefix."""
    return f"lib/python{python}/site-packages"


def forge_prefix(
    root: Path,
    packages: tuple[LockedPackage, ...],
    *,
    torch: Mapping[str, str | None] | None = None,
    cuda_library: bool = True,
    python: str = "3.10",
) -> Path:
    """Write records, dist-infos and torch's files for these packages.

    `torch` becomes torch/version.py: `{"__version__": "2.0.1", "cuda": "11.8"}`.
    """
    (root / "conda-meta").mkdir(parents=True)
    add_interpreter(root)
    (root / site_of(python)).mkdir(parents=True)
    for package in packages:
        if package.manager == "conda":
            add_record(root, package)
        else:
            add_wheel(root, package.name, package.version, python=python)
    if torch is not None:
        add_torch(root, torch, cuda_library=cuda_library, python=python)
    return root


def forge_venv(root: Path, *, python: str = "3.10", home: str = "/usr/bin") -> Path:
    """A virtual environment as `python -m venv` makes it, its interpreter a script."""
    (root / site_of(python)).mkdir(parents=True)
    add_interpreter(root)
    lines = [f"home = {home}", "include-system-site-packages = false", f"version = {python}.4"]
    (root / "pyvenv.cfg").write_text("\n".join(lines) + "\n")
    activate = f'deactivate () {{\n  unset VIRTUAL_ENV\n}}\n\nVIRTUAL_ENV="{root}"\n'
    (root / "bin" / "activate").write_text(f"{activate}export VIRTUAL_ENV\n")
    add_script(root, "pip")
    return root


def add_interpreter(root: Path) -> Path:
    """`bin/python`: a script that starts the Python of the tests."""
    (root / "bin").mkdir(exist_ok=True)
    path = root / "bin" / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    return path


def add_script(root: Path, name: str, prefix: Path | str | None = None) -> Path:
    """A script in `bin` as pip writes it, for the Python of `prefix`."""
    path = root / "bin" / name
    path.write_text(f"#!{prefix or root}/bin/python\nimport sys\nsys.exit(0)\n")
    path.chmod(0o755)
    return path


def add_record(
    root: Path,
    package: LockedPackage,
    files: Mapping[str, Content] | None = None,
    *,
    placed: Mapping[str, str] | None = None,
    **more: Any,
) -> Path:
    """A conda-meta record, indented as conda and rattler write it.

    Args:
        root: the prefix.
        package: what is recorded.
        files: path to content; those with content are written, and recorded with real hashes.
        placed: text files that hold the prefix, with `PLACEHOLDER` for it.
        more: other fields of the record.
    """
    paths = [_entry(root, path, content) for path, content in sorted((files or {}).items())]
    paths += [_placed(root, path, text) for path, text in sorted((placed or {}).items())]
    record = {
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "url": package.url,
        "sha256": package.sha256,
        "files": [item["_path"] for item in paths],
        "paths_data": {"paths_version": 1, "paths": paths},
        **more,
    }
    path = root / "conda-meta" / f"{package.name}-{package.version}-{package.build}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    return path


def _entry(root: Path, path: str, content: Content) -> dict[str, Any]:
    if isinstance(content, int):
        return {"_path": path, "path_type": "hardlink", "size_in_bytes": content}
    data = _write(root / path, content)
    digest = hashlib.sha256(data).hexdigest()
    return {
        "_path": path,
        "path_type": "hardlink",
        "sha256": digest,
        "sha256_in_prefix": digest,
        "size_in_bytes": len(data),
    }


def _placed(root: Path, path: str, text: str) -> dict[str, Any]:
    original = text.encode()
    data = _write(root / path, text.replace(PLACEHOLDER, str(root)))
    return {
        "_path": path,
        "path_type": "hardlink",
        "prefix_placeholder": PLACEHOLDER,
        "file_mode": "text",
        "sha256": hashlib.sha256(original).hexdigest(),
        "sha256_in_prefix": hashlib.sha256(data).hexdigest(),
        "size_in_bytes": len(original),
    }


def _write(path: Path, content: str | bytes) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


def add_wheel(
    root: Path,
    name: str,
    version: str,
    files: Mapping[str, Content] | None = None,
    installer: str = "uv",
    *,
    requires: Sequence[str] = (),
    tags: Sequence[str] = ("py3-none-any",),
    python: str = "3.10",
) -> Path:
    """A dist-info as uv leaves it; `files` go into RECORD, with real hashes where they are real.

    Paths are relative to site-packages.
    """
    site = root / site_of(python)
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    rows = [_row(site, path, content) for path, content in (files or {}).items()]
    headers = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    headers += [f"Requires-Dist: {item}" for item in requires]
    own = {
        "METADATA": "\n".join(headers) + f"\n\n# {name}\n\nName: not a header\n",
        "WHEEL": "\n".join(["Wheel-Version: 1.0", *(f"Tag: {tag}" for tag in tags)]) + "\n",
        "INSTALLER": installer,
    }
    rows += [_row(site, f"{folder.name}/{item}", text) for item, text in own.items()]
    (folder / "RECORD").write_text("\n".join([*rows, f"{folder.name}/RECORD,,"]) + "\n")
    return folder


def _row(site: Path, path: str, content: Content) -> str:
    if isinstance(content, int):
        return f"{path},,{content}"
    data = _write(site / path, content)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}"


def add_torch(
    root: Path,
    values: Mapping[str, str | None],
    *,
    cuda_library: bool = True,
    python: str = "3.10",
) -> Path:
    """torch/version.py as torch's build writes it, and the libraries by name."""
    folder = root / site_of(python) / "torch"
    (folder / "lib").mkdir(parents=True)
    lines = ["from typing import Optional", ""]
    lines += [f"{name}: Optional[str] = {value!r}" for name, value in values.items()]
    (folder / "version.py").write_text("\n".join(lines) + "\n")
    (folder / "__init__.py").write_text("")
    (folder / "lib" / "libtorch_cpu.so").write_bytes(b"\x7fELF")
    if cuda_library:
        (folder / "lib" / "libtorch_cuda.so").write_bytes(b"\x7fELF")
    return folder
