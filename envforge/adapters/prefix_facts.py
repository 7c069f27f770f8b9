"""Reads a prefix without running anything in it.

Costs about what reading the files costs: records of conda-meta are not parsed as a whole
(`formats.conda_record`), and sizes are compared only for the large shared objects.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envforge.adapters.files import unusable
from envforge.adapters.host_facts import module_names
from envforge.adapters.prefix_reader import unlike_recorded
from envforge.errors import InvalidFile
from envforge.formats import conda_meta, conda_record
from envforge.model.prefix import InstalledPackage, PrefixState
from envforge.verify import torch_version
from envforge.verify.facts import CudnnWitness, DamagedFile, PrefixFacts, TorchFiles

_DIST_INFO: Final = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)\.dist-info")
_RECORD_LIBRARY: Final = re.compile(
    rb"^\"?(?P<path>[^,\n\"]*\.so[0-9.]*)\"?,[^,\n]*,(?P<size>\d+)\r?$", re.MULTILINE
)
_LARGE: Final = re.compile(
    r"(pytorch|torch|libtorch|lib(cublas|cudnn|cufft|curand|cusolver|cusparse|cusparselt|nvjitlink)"
    r"|cudnn|nccl|mkl|cudatoolkit|nvidia-.*)(-cu\d+|-dev)?"
)
"""Packages whose shared objects are compared in size: those that a full disk cuts off."""


def read_prefix(
    prefix: Path,
    *,
    state: PrefixState,
    environment: Mapping[str, str],
    every_file: bool = False,
) -> PrefixFacts:
    """Everything verify needs of a prefix.

    Args:
        prefix: a directory; where `state` is ABSENT it is not looked at.
        state: how far its install is, by the install marker.
        environment: for the place of the user's own site-packages (`HOME`, `PYTHONUSERBASE`).
        every_file: look at each file of each package, which takes some tenths of a second.

    Raises:
        FileNotUsable: it does not exist or may not be read.
    """
    if state is PrefixState.ABSENT:
        return PrefixFacts(prefix=str(prefix), real=str(prefix.resolve()), state=state)
    try:
        return _read(prefix, state, environment, every_file=every_file)
    except OSError as error:
        raise unusable(prefix, error) from error


def _read(
    prefix: Path, state: PrefixState, environment: Mapping[str, str], *, every_file: bool
) -> PrefixFacts:
    records = _read_records(prefix)
    version = next((item.version for item in records.packages if item.name == "python"), "")
    site = _site_packages(prefix, version)
    wheels = _read_wheels(site, records) if site else _Wheels()
    libraries = _libraries(prefix, site)
    user_site = _user_site(site, environment)
    return PrefixFacts(
        prefix=str(prefix),
        real=str(prefix.resolve()),
        state=state,
        conda=tuple(sorted(records.packages)),
        wheels=tuple(sorted(wheels.packages)),
        broken_metadata=(*records.broken, *wheels.broken),
        interpreter=_interpreter(prefix),
        torch=_torch(prefix, site, libraries) if site else None,
        cudnn=tuple(_cudnn(prefix, site, records, wheels, libraries)),
        libraries=libraries,
        modules=module_names(str(site)) if site else frozenset(),
        damaged=tuple(sorted(_damaged(prefix, site, records, wheels), key=lambda d: d.path)),
        unlike_recorded=unlike_recorded(prefix) if every_file else None,
        user_site=str(user_site) if user_site else None,
        user_packages=_user_packages(user_site) if user_site else (),
    )


# --- conda-meta -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Records:
    packages: list[InstalledPackage] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)
    """Package name to its record as it is."""

    owned: set[str] = field(default_factory=set)
    """The dist-info folders that conda packages brought."""


def _read_records(prefix: Path) -> _Records:
    found = _Records()
    names = sorted(os.listdir(prefix))  # noqa: PTH208 - also tells whether it may be read
    names = sorted(os.listdir(prefix / "conda-meta")) if "conda-meta" in names else []  # noqa: PTH208
    for name in names:
        if name.endswith(".json"):
            _read_record(prefix / "conda-meta" / name, found)
    return found


def _read_record(path: Path, found: _Records) -> None:
    try:
        data = path.read_bytes()
        package = conda_meta.read_record(data, path.name)
    except OSError as error:
        found.broken.append(f"conda-meta/{path.name}: {(error.strerror or '').lower()}")
    except InvalidFile as error:
        found.broken.append(f"conda-meta/{path.name}: {error.mistakes[0]}")
    else:
        found.packages.append(package)
        found.texts[package.name] = data
        found.owned.update(conda_record.dist_infos(data))


# --- site-packages --------------------------------------------------------------------------


@dataclass(slots=True)
class _Wheels:
    packages: list[InstalledPackage] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)
    """Package name to its dist-info."""


def _site_packages(prefix: Path, python: str) -> Path | None:
    short = ".".join(python.split(".")[:2])
    candidates = [prefix / "lib" / f"python{short}" / "site-packages"] if short else []
    candidates += sorted(prefix.glob("lib/python3.*/site-packages"))
    candidates.append(prefix / "Lib" / "site-packages")  # Windows
    return next((folder for folder in candidates if folder.is_dir()), None)


def _read_wheels(site: Path, records: _Records) -> _Wheels:
    found = _Wheels()
    for name in sorted(os.listdir(site)):  # noqa: PTH208 - names only
        if name.startswith("~"):
            found.broken.append(f"{name}: left behind by an interrupted pip")
        elif name.endswith(".dist-info"):
            _read_dist_info(site / name, records, found)
    return found


def _read_dist_info(folder: Path, records: _Records, found: _Wheels) -> None:
    parts = _DIST_INFO.fullmatch(folder.name)
    if parts is None:
        found.broken.append(f"{folder.name}: not of the form NAME-VERSION.dist-info")
        return
    if folder.name in records.owned:
        return
    name = canonical(parts["name"])
    found_before = found.folders.get(name)
    if not (folder / "METADATA").is_file():
        found.broken.append(f"{folder.name}: has no METADATA")
        return
    if found_before is not None:
        found.broken.append(f"{folder.name}: beside {found_before.name}, two versions of one name")
    found.folders[name] = folder
    version = parts["version"].replace("_", "+")
    found.packages.append(InstalledPackage(name=name, manager="pip", version=version))


def canonical(name: str) -> str:
    """A distribution's name as indexes spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _user_site(site: Path | None, environment: Mapping[str, str]) -> Path | None:
    base = environment.get("PYTHONUSERBASE") or str(
        Path(environment.get("HOME") or "/nonexistent") / ".local"
    )
    if site is None or not site.parent.name.startswith("python"):
        return None
    folder = Path(base) / "lib" / site.parent.name / "site-packages"
    return folder if folder.is_dir() else None


def _user_packages(folder: Path) -> tuple[InstalledPackage, ...]:
    found = _Wheels()
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names only
    except OSError:
        return ()
    for name in names:
        if name.endswith(".dist-info"):
            _read_dist_info(folder / name, _Records(), found)
    return tuple(found.packages)


# --- torch and its libraries ----------------------------------------------------------------


def _interpreter(prefix: Path) -> str | None:
    candidates = (prefix / "bin" / "python", prefix / "bin" / "python3", prefix / "python.exe")
    return next((str(path) for path in candidates if path.exists()), None)


def _torch(prefix: Path, site: Path, libraries: Mapping[str, str]) -> TorchFiles | None:
    folder = site / "torch"
    if not folder.is_dir():
        return None
    package = str(folder.relative_to(prefix))
    has_cuda = any(name.startswith("libtorch_cuda") for name in libraries)
    try:
        text = (folder / "version.py").read_text(encoding="utf-8")
        found = torch_version.read_torch_version(text)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return TorchFiles(package=package, has_cuda_library=has_cuda, problem=(why or "").lower())
    return TorchFiles(
        package=package,
        version=found["__version__"],
        cuda=found.get("cuda"),
        hip=found.get("hip"),
        xpu=found.get("xpu"),
        git=found.get("git_version"),
        has_cuda_library=has_cuda,
    )


def _libraries(prefix: Path, site: Path | None) -> dict[str, str]:
    """File name to folder; where a name occurs twice, the first folder that holds it."""
    folders = [prefix / "lib"]
    if site is not None:
        folders += [site / "torch" / "lib", *sorted(site.glob("nvidia/*/lib"))]
    found: dict[str, str] = {}
    for folder in folders:
        try:
            names = os.listdir(folder)  # noqa: PTH208 - thousands of names
        except OSError:
            continue
        for name in names:
            if ".so" in name:
                found.setdefault(name, str(folder.relative_to(prefix)))
    return found


def _cudnn(
    prefix: Path,
    site: Path | None,
    records: _Records,
    wheels: _Wheels,
    libraries: Mapping[str, str],
) -> Iterator[CudnnWitness]:
    conda = {package.name: package for package in records.packages}
    torch = conda.get("pytorch")
    if torch and (version := torch_version.cudnn_of_build(torch.build)):
        yield CudnnWitness(version=version, witness=f"build {torch.build}")
    for package in (conda[name] for name in ("libcudnn", "cudnn") if name in conda):
        yield CudnnWitness(version=package.version, witness=f"conda package {package.name}")
    for package in wheels.packages:
        if package.name.startswith("nvidia-cudnn"):
            yield CudnnWitness(version=package.version, witness=f"wheel {package.name}")
    for name, folder in libraries.items():
        if version := torch_version.cudnn_of_filename(name):
            yield CudnnWitness(version=version, witness=f"{folder}/{name}")
    yield from _cudnn_headers(prefix, site)


def _cudnn_headers(prefix: Path, site: Path | None) -> Iterator[CudnnWitness]:
    folders = [prefix, *([site / "nvidia" / "cudnn"] if site else [])]
    for folder in folders:
        header = folder / "include" / "cudnn_version.h"
        try:
            version = torch_version.cudnn_of_header(header.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if version:
            yield CudnnWitness(version=version, witness=str(header.relative_to(prefix)))


# --- sizes ----------------------------------------------------------------------------------


def _damaged(
    prefix: Path, site: Path | None, records: _Records, wheels: _Wheels
) -> Iterator[DamagedFile]:
    for name, text in records.texts.items():
        if _LARGE.fullmatch(name):
            yield from _compare(prefix, prefix, conda_record.library_sizes(text))
    for name, folder in wheels.folders.items():
        if site is not None and _LARGE.fullmatch(name):
            yield from _compare(prefix, site, _sizes_of_record(folder / "RECORD"))


def _sizes_of_record(path: Path) -> Iterable[tuple[str, int]]:
    try:
        data = path.read_bytes()
    except OSError:
        return ()
    entries = _RECORD_LIBRARY.finditer(data)
    return ((item["path"].decode("utf-8", "replace"), int(item["size"])) for item in entries)


def _compare(prefix: Path, root: Path, sizes: Iterable[tuple[str, int]]) -> Iterator[DamagedFile]:
    for path, recorded in sizes:
        try:
            found: int | None = (root / path).stat().st_size
        except OSError:
            found = None
        if found != recorded:
            place = os.path.relpath(root / path, prefix)
            yield DamagedFile(path=place, recorded=recorded, found=found)
