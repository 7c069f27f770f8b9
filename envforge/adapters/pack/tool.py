"""The tool of a pack: a Python with envforge in it, as a tar that `sh` and `tar` can lay out.

conda's packages are taken as they are, without the prefix that an install would write into them:
Python finds its library beside its program, wherever that is. The tar is not compressed, since
two machines' compressors need not agree on bytes.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from envforge.adapters.templates_folder import templates_folder
from envforge.team import pack_tool
from envforge.version import __version__

_RUNNER: Final = """\
#!/bin/sh
here=$(dirname -- "$(readlink -f -- "$0" 2>/dev/null || printf %s "$0")")
exec "$here/python" -I -m envforge "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFile:
    """One file of the tool: `data`, or a file to read, or a link."""

    data: bytes | None = None
    source: Path | None = None
    link: str | None = None
    executable: bool = False


def write_tool(
    target: Path, *, unpacked: Iterable[Path], wheels: Iterable[Path], python: str
) -> None:
    """Write the tar; equal inputs give equal bytes.

    Args:
        target: the file to write.
        unpacked: folders of conda packages: Python and what it needs.
        wheels: what envforge needs, for that Python.
        python: its version.
    """
    site = f"lib/python{'.'.join(python.split('.')[:2])}/site-packages"
    files: dict[str, ToolFile] = {}
    for folder in unpacked:
        files.update(_of_conda(folder))
    for wheel in wheels:
        files.update(_of_wheel(wheel, site))
    files.update(_of_envforge(site))
    files["bin/envforge"] = ToolFile(data=_RUNNER.encode(), executable=True)
    _write(target, _without_dangling(files))


def own_requirements() -> tuple[str, ...]:
    """What the running envforge needs, without extras."""
    return pack_tool.requirements(metadata.requires("envforge") or ())


def installed_versions(names: Iterable[str]) -> tuple[str, ...]:
    """`name==version` of these and of all that they need, as they are installed here."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, str] = {}
    waiting = [Requirement(item).name for item in names]
    while waiting:
        name = str(canonicalize_name(waiting.pop()))
        if name in found:
            continue
        try:
            here = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for other Pythons or systems
        found[name] = here.version
        waiting += [Requirement(item).name for item in pack_tool.requirements(here.requires or ())]
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()))


# --- where files come from ------------------------------------------------------------------


def _of_conda(folder: Path) -> Iterator[tuple[str, ToolFile]]:
    for where, folders, names in os.walk(folder):
        links = [name for name in folders if Path(where, name).is_symlink()]
        for name in (*names, *links):
            file = Path(where, name)
            path = file.relative_to(folder).as_posix()
            if not pack_tool.is_needed(path):
                continue
            if file.is_symlink():
                yield path, ToolFile(link=os.readlink(file))  # noqa: PTH115 - as it is written
            else:
                yield path, ToolFile(source=file, executable=os.access(file, os.X_OK))


def _of_wheel(wheel: Path, site: str) -> Iterator[tuple[str, ToolFile]]:
    """As an installer would spread it (PyPA, "Binary distribution format")."""
    with zipfile.ZipFile(wheel) as archive:
        for item in archive.infolist():
            path = _spread(item.filename, site)
            if path is not None and not item.is_dir():
                mode = item.external_attr >> 16
                executable = bool(mode & stat.S_IXUSR) or path.startswith("bin/")
                yield path, ToolFile(data=archive.read(item), executable=executable)


def _spread(path: str, site: str) -> str | None:
    """Where a wheel's file lies in the tool; None: nowhere."""
    if ".." in path.split("/") or path.startswith("/") or path.endswith(".pyc"):
        return None
    top, _, rest = path.partition("/")
    if not top.endswith(".data"):
        return f"{site}/{path}"
    scheme, _, inner = rest.partition("/")
    roots = {"purelib": f"{site}/", "platlib": f"{site}/", "scripts": "bin/", "data": ""}
    return f"{roots[scheme]}{inner}" if scheme in roots else None


def _of_envforge(site: str) -> Iterator[tuple[str, ToolFile]]:
    package = Path(__file__).parents[2]
    for root, under in ((package, "envforge"), (templates_folder(), "envforge/_templates")):
        for file in sorted(root.rglob("*")):
            inside = file.relative_to(root)
            if file.is_file() and "__pycache__" not in inside.parts:
                yield f"{site}/{under}/{inside.as_posix()}", ToolFile(source=file)
    try:
        text = metadata.distribution("envforge").read_text("METADATA") or ""
    except metadata.PackageNotFoundError:
        text = ""
    text = text or f"Metadata-Version: 2.1\nName: envforge\nVersion: {__version__}\n"
    info = f"{site}/envforge-{__version__}.dist-info"
    yield f"{info}/METADATA", ToolFile(data=text.encode())
    yield f"{info}/INSTALLER", ToolFile(data=b"envforge-pack\n")


# --- the tar --------------------------------------------------------------------------------


def _without_dangling(files: Mapping[str, ToolFile]) -> dict[str, ToolFile]:
    """Drop links to what was left out."""
    kept = dict(files)
    folders = {os.path.dirname(path) for path in files}  # noqa: PTH120 - no paths of a disk
    while True:
        gone = [
            path
            for path, file in kept.items()
            if file.link is not None and _target(path, file.link) not in {*kept, *folders}
        ]
        if not gone:
            return kept
        for path in gone:
            del kept[path]


def _target(path: str, link: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(path), link))  # noqa: PTH118, PTH120


def _write(target: Path, files: Mapping[str, ToolFile]) -> None:
    with (
        target.open("wb") as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path, file in sorted(files.items()):
            header = tarfile.TarInfo(path)
            header.mode = 0o755 if file.executable else 0o644
            if file.link is not None:
                header.type, header.linkname, header.mode = tarfile.SYMTYPE, file.link, 0o777
                tar.addfile(header)
            elif file.source is not None:
                header.size = file.source.stat().st_size
                with file.source.open("rb") as data:
                    tar.addfile(header, data)
            else:
                header.size = len(file.data or b"")
                tar.addfile(header, io.BytesIO(file.data or b""))
