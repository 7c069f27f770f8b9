"""Reads `conda-meta/` as verify wants it: quick, and whatever lies there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from envforge.adapters.files import read_start
from envforge.errors import InvalidFile
from envforge.formats.conda import conda_meta, conda_record
from envforge.formats.conda.conda_record import Library
from envforge.formats.text import json_text
from envforge.model.prefix import InstalledPackage

LARGE: Final = re.compile(
    r"(pytorch|torch|libtorch|lib(cublas|cudnn|cufft|curand|cusolver|cusparse|cusparselt|nvjitlink)"
    r"|cudnn|nccl|mkl|cudatoolkit|nvidia-.*)(-cu\d+|-dev)?"
)
"""Packages whose shared objects are always looked at: those that a full disk cuts off, and that
packages of several CUDA releases bring twice."""
_REVISION: Final = re.compile(r"==> .* <==$")
_SUBDIR: Final = re.compile(r"(linux|osx|win|noarch|emscripten|wasi|freebsd|zos)(-[a-z0-9_]+)?")


@dataclass(slots=True)
class CondaRecords:
    """What `conda-meta/` says."""

    packages: list[InstalledPackage] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """`conda-meta/x.json: not JSON`; one line each."""
    owners: dict[str, str] = field(default_factory=dict)
    """Name of a dist-info or egg-info to the package that brought it."""
    libraries: list[tuple[InstalledPackage, Library]] = field(default_factory=list)
    """Shared objects of the packages that `LARGE` names."""
    channels: dict[str, str] = field(default_factory=dict)
    subdirs: dict[str, str] = field(default_factory=dict)
    depends: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unpacked: dict[str, str] = field(default_factory=dict)
    """Package to the folder of the package cache that it was linked from."""
    files: dict[str, str] = field(default_factory=dict)
    """Package to its record's file name."""
    site: str | None = None
    """Where Python's own record says that packages go, relative to the prefix."""
    names: tuple[str, ...] = ()
    """Everything in the folder."""

    @property
    def python(self) -> str:
        """Its version; empty: there is no such package."""
        return next((item.version for item in self.packages if item.name == "python"), "")


def read_records(prefix: Path) -> CondaRecords:
    """Every record of a prefix; empty where there is no `conda-meta`."""
    found = CondaRecords()
    folder = f"{prefix}/conda-meta"
    try:
        found.names = tuple(sorted(os.listdir(folder)))  # noqa: PTH208 - names only
    except FileNotFoundError:
        return found
    except OSError as error:
        found.broken.append(f"conda-meta: {_said(error)}")
        return found
    for name in found.names:
        if name.endswith(".json") and not name.startswith("."):  # conda's own rule
            _read_record(f"{folder}/{name}", name, found)
    return found


def _read_record(path: str, name: str, found: CondaRecords) -> None:
    try:
        data = read_start(path)
        outline = conda_record.outline(data)
        package = _package(outline.fields) if outline else None
        if outline is None or package is None:
            package, outline = conda_meta.read_record(data, name), _whole(data)
    except OSError as error:
        found.broken.append(f"conda-meta/{name}: {_said(error)}")
    except InvalidFile as error:
        empty = "it is empty" if not data.strip() else error.mistakes[0]
        found.broken.append(f"conda-meta/{name}: {empty}")
    else:
        before = found.files.get(package.name)
        if before is not None:
            found.broken.append(f"conda-meta/{name}: beside {before}, two records of one package")
            return
        found.files[package.name] = name
        _keep(package, outline, found)


def _package(fields: Mapping[str, Any]) -> InstalledPackage | None:
    name, version, build = (fields.get(key) for key in ("name", "version", "build"))
    if not (isinstance(name, str) and isinstance(version, str) and isinstance(build, str)):
        return None
    if not (name and version and build):
        return None
    return InstalledPackage(
        name=name,
        manager="conda",
        version=version,
        build=build,
        url=_text(fields, "url"),
        sha256=_text(fields, "sha256"),
        md5=_text(fields, "md5"),
    )


def _whole(data: bytes) -> conda_record.Outline:
    """The same of a record in one line, in three times the time."""
    import json

    fields = json_text.parse(data)
    listed = json.dumps(_items(fields.pop("files", None))).encode()
    described = fields.pop("paths_data", None)
    paths = json.dumps(_items(described.get("paths") if isinstance(described, dict) else None))
    both = listed + paths.encode()
    return conda_record.Outline(fields, both, (0, len(listed)), (len(listed), len(both)))


def _keep(package: InstalledPackage, outline: conda_record.Outline, found: CondaRecords) -> None:
    fields, name = outline.fields, package.name
    found.packages.append(package)
    channel, subdir = _origin(fields)
    if channel:
        found.channels[name] = channel
    if subdir:
        found.subdirs[name] = subdir
    depends = fields.get("depends")
    if isinstance(depends, list):
        found.depends[name] = tuple(map(str, depends))
    if unpacked := _text(fields, "extracted_package_dir"):
        found.unpacked[name] = unpacked
    if name == "python":
        found.site = _text(fields, "python_site_packages_path") or None
    for entry in conda_record.distributions(outline):
        found.owners[entry] = name
    if LARGE.fullmatch(name):
        found.libraries += [(package, item) for item in conda_record.libraries(outline.paths)]


def _origin(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Channel (`conda-forge`, `pkgs/main`) and its folder, by the address, else as recorded."""
    parts = _text(fields, "url").rsplit("/", 4)
    subdir = _text(fields, "subdir")
    if len(parts) > 3 and (parts[-2] == subdir or _SUBDIR.fullmatch(parts[-2])):
        return _channel(parts[:-2]), subdir or parts[-2]
    named = [part for part in _text(fields, "channel").split("/") if part]
    if len(named) > 1 and _SUBDIR.fullmatch(named[-1]):
        named.pop()
    return _channel(named), subdir


def _channel(parts: list[str]) -> str:
    """The last part of a channel's address; Anaconda's own have two, `pkgs/main`."""
    if not parts:
        return ""
    return "/".join(parts[-2:]) if len(parts) > 1 and parts[-2] == "pkgs" else parts[-1]


# --- history --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """`conda-meta/history`, as conda writes it (`conda/history.py`)."""

    present: tuple[str, ...] = ()
    """Names of the packages that are installed after the last revision."""
    commands: tuple[str, ...] = ()


def read_history(prefix: Path) -> History:
    """What was done here; empty where nothing is said."""
    try:
        text = read_start(f"{prefix}/conda-meta/history", 1 << 22).decode("utf-8", "replace")
    except OSError:
        return History()
    present: dict[str, None] = {}
    commands = []
    for line in text.splitlines():
        if line.startswith("# cmd:"):
            commands.append(_short(line.partition(":")[2].strip()))
        elif line and not line.startswith(("#", "==>", " ")):
            _apply(line, present)
    return History(present=tuple(present), commands=tuple(commands))


def _apply(line: str, present: dict[str, None]) -> None:
    name = line.lstrip("+-").rpartition("::")[2].rsplit("-", 2)
    if len(name) != 3:
        return
    if line.startswith("-"):
        present.pop(name[0], None)
    else:
        present.pop(name[0], None)
        present[name[0]] = None


def _short(command: str) -> str:
    """`/opt/conda/bin/conda install x` becomes `conda install x`: places may be private.

    Addresses may hold tokens, and folders the names of people.
    """
    program, *words = command.split()[:50] or [""]
    shown = ("…" if "/" in word or "@" in word else word for word in words)
    return " ".join([program.rpartition("/")[2], *shown]).strip()


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def _items(value: object) -> list[Any]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, (str, dict)) else []


def _said(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def record_paths(prefix: Path, records: CondaRecords) -> Iterator[tuple[InstalledPackage, str]]:
    """Each package with its record, absolute."""
    for package in records.packages:
        yield package, f"{prefix}/conda-meta/{records.files[package.name]}"
