"""What is installed in a prefix, from its own metadata; nothing is started, nothing is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from envforge.adapters.files import is_folder, unusable
from envforge.errors import BrokenPrefix, InvalidFile
from envforge.formats.conda import conda_meta, conda_record
from envforge.formats.python import dist_info
from envforge.model.prefix import (
    InstalledPackage,
    InstallRecord,
    PrefixContents,
    PrefixState,
)

LOCK_NAME: Final = "envforge.lock"
"""Held in `conda-meta/` while an environment is changed."""


@dataclass(frozen=True, slots=True)
class _Record:
    """A file of conda-meta, and what it says."""

    path: Path
    data: bytes
    package: InstalledPackage


def read_prefix(prefix: Path) -> PrefixContents:
    """Tell how far a prefix is, and what it holds.

    Raises:
        BrokenPrefix: something that is no environment is in the way.
        InvalidFile: a package record of a foreign environment cannot be read; in one of ours,
            which is repaired, such a package counts as not installed.
        FileNotUsable: the prefix may not be read.
    """
    try:
        state, record = _state(prefix)
        if state is PrefixState.ABSENT:
            return PrefixContents(state=state, record=record)
        return _contents(prefix, state, record)
    except OSError as error:
        raise unusable(prefix, error) from error


def read_state(prefix: Path) -> PrefixState:
    """How far a prefix is, whatever its package records look like.

    Raises:
        BrokenPrefix: something that is no environment is in the way.
        FileNotUsable: the prefix may not be read.
    """
    try:
        return _state(prefix)[0]
    except OSError as error:
        raise unusable(prefix, error) from error


def read_record(prefix: Path) -> InstallRecord | None:
    """What our marker says; None: there is none, or it may not be read."""
    try:
        marker = _text(prefix / "conda-meta" / conda_meta.MARKER)
    except OSError:
        return None
    return conda_meta.parse_marker(marker) if marker is not None else None


def site_packages(prefix: Path) -> Path | None:
    """Where the prefix's Python looks for packages; None: it has no Python."""
    return _site_packages(prefix, _read_records(prefix, lenient=True)[0])


def unreadable_records(prefix: Path) -> tuple[Path, ...]:
    """Records of conda-meta that are cut off or no JSON."""
    return _read_records(prefix, lenient=True)[1]


def leftover_dist_infos(prefix: Path) -> tuple[Path, ...]:
    """The dist-info folders that an interruption left, and that no installer can take out.

    Without a list of files; or of a conda package that never got its record; or of another
    version of what a conda package brought meanwhile. Whatever pip or uv installed in whole is
    none of these.
    """
    records, _ = _read_records(prefix, lenient=True)
    brought = {_folder_name(name)[0] for name in _owned(records)}
    return tuple(
        folder
        for package, folder in _wheels(prefix, records, None)
        if package.name in brought
        or (_text(folder / "INSTALLER") or "").strip() == "conda"
        or not ((folder / "RECORD").is_file() and (folder / "METADATA").is_file())
    )


def noarch_modules(prefix: Path, names: frozenset[str]) -> tuple[str, ...]:
    """The modules, relative to the prefix, of those of these packages that conda would compile."""
    found: list[str] = []
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        if path.stem.rsplit("-", 2)[0] in names:
            data = path.read_bytes()
            if conda_meta.is_noarch_python(data):
                files = conda_meta.read_files(data, str(path))
                found += [item.path for item in files if item.path.endswith(".py")]
    return tuple(found)


def wheel_modules(prefix: Path, names: frozenset[str]) -> tuple[str, ...]:
    """The modules, relative to the prefix, of those wheels."""
    site = site_packages(prefix)
    if site is None:
        return ()
    below = site.relative_to(prefix)
    return tuple(
        str(below / item.path)
        for folder in sorted(site.glob("*.dist-info"))
        if _folder_name(folder.name)[0] in names
        for item in _wheel_files(folder) or ()
        if item.path.endswith(".py") and ".." not in Path(item.path).parts
    )


def _state(prefix: Path) -> tuple[PrefixState, InstallRecord | None]:
    if not os.path.lexists(prefix):
        return PrefixState.ABSENT, None
    if not prefix.is_dir():
        raise _in_the_way(prefix, "is in the way, and is no directory")
    meta = prefix / "conda-meta"
    marker = _text(meta / conda_meta.MARKER)
    if marker is not None:
        record = conda_meta.parse_marker(marker)
        done = PrefixState.INSTALLED if record.complete else PrefixState.INCOMPLETE
        return done, record
    present = {path.name for path in prefix.iterdir()} - {"conda-meta"}
    ours = {LOCK_NAME}
    inside = {path.name for path in meta.iterdir()} - ours if meta.is_dir() else set()
    if inside & {"history"} or any(name.endswith(".json") for name in inside):
        return PrefixState.FOREIGN, None
    if present:
        raise _in_the_way(prefix, "is in the way: it is not empty, and no environment")
    return PrefixState.ABSENT, None


def _in_the_way(prefix: Path, reason: str) -> BrokenPrefix:
    return BrokenPrefix(
        prefix=str(prefix),
        reason=reason,
        remedy="choose another place with `--prefix`, or move it away",
    )


def _contents(prefix: Path, state: PrefixState, record: InstallRecord | None) -> PrefixContents:
    ours = state is not PrefixState.FOREIGN
    records, unreadable = _read_records(prefix, lenient=ours)
    wheels = dict(_wheels(prefix, records, record))
    damaged: set[InstalledPackage] = set()
    if ours:
        damaged = {item.package for item in records if not _is_whole(prefix, item)}
        damaged |= {item for item, folder in wheels.items() if not _is_whole_wheel(folder)}
    packages = [item.package for item in records] + list(wheels)
    return PrefixContents(
        state=state,
        packages=tuple(sorted(packages)),
        damaged=frozenset(damaged),
        unreadable=bool(unreadable),
        record=record,
    )


def _read_records(prefix: Path, *, lenient: bool) -> tuple[list[_Record], tuple[Path, ...]]:
    records, broken = [], []
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        data = path.read_bytes()
        try:
            records.append(_Record(path, data, conda_meta.read_record(data, str(path))))
        except InvalidFile:
            if not lenient:
                raise
            broken.append(path)
    return records, tuple(broken)


def _site_packages(prefix: Path, records: list[_Record]) -> Path | None:
    python = next((item for item in records if item.package.name == "python"), None)
    if python is None:
        return None
    given = conda_meta.site_packages_path(python.data)
    minor = ".".join(python.package.version.split(".")[:2])
    return prefix / (given or f"lib/python{minor}/site-packages")


def _wheels(
    prefix: Path, records: list[_Record], marker: InstallRecord | None
) -> Iterator[tuple[InstalledPackage, Path]]:
    """Distributions that no conda package brought, each with its dist-info folder."""
    site = _site_packages(prefix, records)
    if site is None or not is_folder(site):
        return
    owned = _owned(records)
    hashes = marker.wheels if marker else {}
    for folder in sorted(site.glob("*.dist-info")):
        if folder.name not in owned:
            package = _wheel(folder)
            yield replace(package, sha256=hashes.get(package.name, "")), folder


def _owned(records: Iterable[_Record]) -> set[str]:
    """The dist-info folders that conda packages brought."""
    return {name for item in records for name in conda_record.dist_infos(item.data)}


def _wheel(folder: Path) -> InstalledPackage:
    name, version = _folder_name(folder.name)
    metadata = _text(folder / "METADATA")
    if metadata is not None:
        with suppress(InvalidFile):  # cut off: the folder's name says the same
            name, version = dist_info.read_metadata(metadata, str(folder / "METADATA"))
    url = dist_info.read_url(_text(folder / "direct_url.json"))
    return InstalledPackage(name=name, manager="pip", version=version, url=url)


def _folder_name(folder: str) -> tuple[str, str]:
    from packaging.utils import canonicalize_name

    name, _, version = folder.removesuffix(".dist-info").partition("-")
    return str(canonicalize_name(name)), version


def _is_whole(prefix: Path, record: _Record) -> bool:
    return next(_unlike(prefix, record), None) is None


def _unlike(prefix: Path, record: _Record) -> Iterator[str]:
    """Files of a conda package that are gone, or of another size than recorded.

    A record that is damaged between its first lines and its last is itself such a file.
    """
    root = f"{prefix}/"  # text, not paths: an environment has tens of thousands of files
    try:
        files = conda_meta.read_files(record.data, str(record.path))
    except InvalidFile:
        yield str(record.path.relative_to(prefix))
        return
    for item in files:
        try:
            found = os.lstat(root + item.path)
        except OSError:
            yield item.path
            continue
        if item.size is not None and found.st_size != item.size:
            yield item.path


def _is_whole_wheel(folder: Path) -> bool:
    return next(_unlike_in_wheel(folder), None) is None


def _unlike_in_wheel(folder: Path) -> Iterator[str]:
    """The same of a wheel, relative to site-packages."""
    files = _wheel_files(folder)
    if files is None:
        yield f"{folder.name}/RECORD"
        return
    root = f"{folder.parent}/"
    yield from (item.path for item in files if not _has_size(root + item.path, item.size))


def _has_size(path: str, size: int | None) -> bool:
    try:
        found = os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return False
    return size is None or found == size


def _wheel_files(folder: Path) -> tuple[dist_info.WheelFile, ...] | None:
    record = _text(folder / "RECORD")
    return dist_info.read_files(record) if record is not None else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
