"""Reads a prefix without running anything in it.

Costs about what reading the files costs: records of conda-meta are not parsed as a whole
(`formats.conda_record`), and sizes are compared only for the large shared objects.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from envforge.adapters.files import is_folder, is_there, read_start, unusable
from envforge.adapters.linking.elf_size import is_cut
from envforge.adapters.linking.fatbin import read_code
from envforge.adapters.machine.host_facts import module_names
from envforge.adapters.prefix.companion_files import read_companions
from envforge.adapters.prefix.conda_records import CondaRecords, read_records
from envforge.adapters.prefix.distributions import Distributions, canonical, read_distributions
from envforge.adapters.prefix.interpreter_file import interpreter_problem
from envforge.adapters.prefix.package_facts import Thorough, cached_only, read_package_facts
from envforge.adapters.prefix.published_facts import read_published
from envforge.adapters.prefix.site_folders import layout_of, site_folders
from envforge.formats.conda.conda_record import Library
from envforge.model.prefix import InstalledPackage, PrefixState
from envforge.verify import torch_version
from envforge.verify.facts import CompanionFacts, CudnnWitness, DamagedFile, PrefixFacts, TorchFiles

_LARGEST_TEXT: Final = 1 << 20
"""Bytes of a small file that are read; what is longer is none of those that are wanted here."""


def read_prefix(
    prefix: Path,
    *,
    state: PrefixState,
    environment: Mapping[str, str],
    every_file: bool = False,
    site: Path | None = None,
    thorough: Thorough | None = None,
) -> PrefixFacts:
    """Everything verify needs of a prefix.

    Args:
        prefix: a directory; where `state` is ABSENT it is not looked at.
        state: how far its install is, by the install marker.
        environment: for the place of the user's own site-packages (`HOME`, `PYTHONUSERBASE`).
        every_file: look at each file of each package, which takes some tenths of a second.
        site: where its packages lie; None: in the usual place of a prefix.
        thorough: what else is to be looked at with `every_file`: hashes, package caches.

    Raises:
        FileNotUsable: it does not exist or may not be read.
    """
    how = (thorough or Thorough()) if every_file else None
    if state is PrefixState.ABSENT:
        real = str(prefix.resolve())
        return PrefixFacts(prefix=str(prefix), real=real, state=state, packages=cached_only(how))
    try:
        return _read(prefix, state, environment, site=site, thorough=how)
    except OSError as error:
        raise unusable(Path(str(error.filename or prefix)), error) from error


def _refuse_shut(prefix: Path) -> None:
    """Raises OSError for a folder that is there and cannot be listed: it would seem empty."""
    os.listdir(prefix)  # noqa: PTH208
    for folder in ("lib", "lib64"):
        try:
            names = os.listdir(prefix / folder)  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            if name.startswith("python3") and os.path.isdir(prefix / folder / name):  # noqa: PTH112
                os.listdir(prefix / folder / name)  # noqa: PTH208


def _read(
    prefix: Path,
    state: PrefixState,
    environment: Mapping[str, str],
    *,
    site: Path | None,
    thorough: Thorough | None,
) -> PrefixFacts:
    _refuse_shut(prefix)
    records, layout = read_records(prefix), layout_of(prefix)
    sites = site_folders(prefix, site, records, layout)
    site = _main(sites)
    dists = read_distributions(prefix, sites, records.owners, of_a_system=layout == "system")
    wheels = _wheels(dists)
    libraries = _libraries(prefix, site)
    user_site = _user_site(site, environment)
    interpreter = _interpreter(prefix)
    packages, unreadable = read_package_facts(
        prefix, records, dists, layout, interpreter=interpreter, thorough=thorough
    )
    every_file = thorough is not None
    return PrefixFacts(
        prefix=str(prefix),
        real=str(prefix.resolve()),
        state=state,
        conda=tuple(sorted(records.packages, key=lambda item: item.name)),
        wheels=wheels,
        broken_metadata=(*records.broken, *unreadable, *dists.broken),
        interpreter=interpreter,
        interpreter_problem=interpreter_problem(prefix, sites),
        torch=_torch(prefix, site, libraries) if site else None,
        cudnn=tuple(_cudnn(prefix, site, records, wheels, libraries)),
        companions=read_companions(site) if site else CompanionFacts(),
        libraries=libraries,
        modules=module_names(str(site)) if site else frozenset(),
        damaged=tuple(sorted(_damaged(prefix, records, dists), key=lambda d: d.path)),
        packages=packages,
        code=tuple(read_code(prefix, site, libraries, every_file=every_file)),
        code_everywhere=every_file,
        published=read_published(prefix, everywhere=every_file),
        user_site=str(user_site) if user_site else None,
        user_packages=_user_packages(user_site) if user_site else (),
    )


# --- packages -------------------------------------------------------------------------------


def _main(sites: list[Path]) -> Path | None:
    """The folder that holds torch, else the first."""
    with_torch = (folder for folder in sites if os.path.isdir(folder / "torch"))  # noqa: PTH112
    return next(with_torch, sites[0] if sites else None)


def _wheels(distributions: Distributions) -> tuple[InstalledPackage, ...]:
    """What no conda package owns and pip can take out again."""
    return tuple(
        InstalledPackage(name=item.name, manager="pip", version=item.version)
        for item in distributions.found
        if item.conda_owner is None
        and item.installer != "conda"
        and item.folder.endswith(".dist-info")
    )


def _user_site(site: Path | None, environment: Mapping[str, str]) -> Path | None:
    base = environment.get("PYTHONUSERBASE") or str(
        Path(environment.get("HOME") or "/nonexistent") / ".local"
    )
    if site is None or not site.parent.name.startswith("python"):
        return None
    folder = Path(base) / "lib" / site.parent.name / "site-packages"
    return folder if is_folder(folder) else None


def _user_packages(folder: Path) -> tuple[InstalledPackage, ...]:
    """By the names of the folders: whose versions they are is all that is wanted."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names only
    except OSError:
        return ()
    parts = [name.removesuffix(".dist-info").rpartition("-") for name in names]
    return tuple(
        InstalledPackage(name=canonical(name), manager="pip", version=version.replace("_", "+"))
        for (name, _, version), entry in zip(parts, names, strict=True)
        if name and entry.endswith(".dist-info") and os.path.exists(folder / entry / "METADATA")  # noqa: PTH110
    )


# --- torch and its libraries ----------------------------------------------------------------


def _interpreter(prefix: Path) -> str | None:
    candidates = (prefix / "bin" / "python", prefix / "bin" / "python3", prefix / "python.exe")
    return next((str(path) for path in candidates if is_there(path)), None)


def _torch(prefix: Path, site: Path, libraries: Mapping[str, str]) -> TorchFiles | None:
    folder = site / "torch"
    if not is_folder(folder):
        return None
    package = _below(folder, prefix)
    has_cuda = any(name.startswith("libtorch_cuda") for name in libraries)
    try:
        text = read_start(str(folder / "version.py"), _LARGEST_TEXT).decode("utf-8")
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
                found.setdefault(name, _below(folder, prefix))
    return found


def _cudnn(
    prefix: Path,
    site: Path | None,
    records: CondaRecords,
    wheels: tuple[InstalledPackage, ...],
    libraries: Mapping[str, str],
) -> Iterator[CudnnWitness]:
    conda = {package.name: package for package in records.packages}
    torch = conda.get("pytorch")
    if torch and (version := torch_version.cudnn_of_build(torch.build)):
        yield CudnnWitness(version=version, witness=f"build {torch.build}")
    for package in (conda[name] for name in ("libcudnn", "cudnn") if name in conda):
        yield CudnnWitness(version=package.version, witness=f"conda package {package.name}")
    for package in wheels:
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
            text = read_start(str(header), _LARGEST_TEXT).decode("utf-8")
            version = torch_version.cudnn_of_header(text)
        except (OSError, UnicodeDecodeError):
            continue
        if version:
            yield CudnnWitness(version=version, witness=_below(header, prefix))


def _below(path: Path, prefix: Path) -> str:
    """Relative to the prefix; as it is where it lies elsewhere, as a system's site-packages may."""
    return str(path.relative_to(prefix) if path.is_relative_to(prefix) else path)


# --- sizes ----------------------------------------------------------------------------------


def _damaged(
    prefix: Path, records: CondaRecords, distributions: Distributions
) -> Iterator[DamagedFile]:
    """Large shared objects that are gone or cut off, whichever package brought them."""
    replaced = {item.name for item in distributions.found if item.conda_owner is None}
    recorded: dict[str, list[Library]] = {}
    brought: dict[str, tuple[str, str]] = {}
    for package, library in records.libraries:
        if package.name not in replaced and not _is_replaced(package, records, replaced):
            recorded.setdefault(library.path, []).append(library)
            brought[library.path] = ("conda", f"{package.name} {package.version}")
    for wheel, library in distributions.libraries:
        recorded.setdefault(library.path, []).append(library)
        brought[library.path] = ("pip", f"{wheel.name} {wheel.version}")
    for path, owners in recorded.items():
        yield from _compared(prefix, path, owners, brought[path])


def _is_replaced(package: InstalledPackage, records: CondaRecords, wheels: set[str]) -> bool:
    """Whether pip took out what the package brought, and put a wheel in its place."""
    brought = (entry for entry, owner in records.owners.items() if owner == package.name)
    return any(canonical(entry.partition("-")[0]) in wheels for entry in brought)


def _compared(
    prefix: Path, path: str, owners: list[Library], brought: tuple[str, str]
) -> Iterator[DamagedFile]:
    sizes = [item.size for item in owners if item.size is not None]
    try:
        found: int | None = os.stat(prefix / path).st_size  # noqa: PTH116
    except OSError:
        found = None
    if not sizes or found in sizes or (found is not None and found > min(sizes)):
        return
    if found is None or is_cut(str(prefix / path)) is not False:
        manager, package = brought
        yield DamagedFile(
            path=path, recorded=sizes[-1], found=found, package=package, manager=manager
        )
