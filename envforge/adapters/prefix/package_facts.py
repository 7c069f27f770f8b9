"""What a prefix's packages tell of themselves: metadata, owners of files, leftovers.

`conda_records.py` and `distributions.py` read the records; `package_files.py` compares each file
with its record, `scripts.py` looks at first lines in `bin`, `package_cache.py`'s folders are looked
at by `cache_facts.py`. Here they come together.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envforge.adapters import prefix_reader
from envforge.adapters.prefix import cache_facts, package_files, scripts
from envforge.adapters.prefix.conda_records import CondaRecords, read_history
from envforge.adapters.prefix.distributions import Distributions, canonical
from envforge.adapters.quota import quota
from envforge.formats.conda.conda_record import Library
from envforge.model.lock import LockedPackage
from envforge.model.prefix import Disk
from envforge.verify.facts import CacheDamage, Layout, PackageFacts, SharedPath

_LEFTOVER: Final = re.compile(r"(\.c~|\.conda_trash(_\d+)?)$")
"""Names that conda gives to files it is about to remove (`conda/gateways/disk/delete.py`)."""
_MANY: Final = 1000
"""Leftovers that are listed; more say nothing new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thorough:
    """What else is looked at where there is time for it."""

    hashes: bool = False
    """Every file's content, not only of those that were written after their package."""
    caches: Sequence[Path] = ()
    """Package caches to look at."""
    locked: Sequence[LockedPackage] = ()
    """The packages whose entries there count."""


def read_package_facts(
    prefix: Path,
    records: CondaRecords,
    distributions: Distributions,
    layout: Layout,
    *,
    interpreter: str | None,
    thorough: Thorough | None = None,
) -> tuple[PackageFacts, tuple[str, ...]]:
    """Everything about the packages of a prefix, and what else was found broken in records.

    Args:
        prefix: absolute.
        records: what `conda-meta` says.
        distributions: what site-packages says.
        layout: what kind of place it is.
        interpreter: the prefix's Python, if it has one.
        thorough: look at each file; None: records only.
    """
    replaced = _replaced(records, distributions)
    unfinished, commands = _history(prefix, records)
    leftovers = tuple(_leftovers(prefix, records, layout, thorough=thorough is not None))
    marker = prefix_reader.read_record(prefix) if "envforge-install" in records.names else None
    compared = None
    if thorough is not None:
        compared = package_files.compare(
            prefix,
            records,
            _of_installers(distributions) if layout == "system" else distributions,
            replaced,
            hashes=thorough.hashes,
        )
    shared = compared.shared if compared else _shared(records, distributions, replaced)
    facts = PackageFacts(
        layout=layout,
        distributions=tuple(distributions.found),
        replaced=replaced,
        channels=records.channels,
        subdirs=records.subdirs,
        depends=records.depends,
        unpacked=records.unpacked,
        shared=shared,
        leftovers=leftovers,
        unfinished=unfinished,
        commands=commands,
        disk=disk_of(prefix) if leftovers or unfinished else None,
        scripts=tuple(scripts.misled(prefix, layout, interpreter)),
        recorded_prefix=scripts.recorded_prefix(prefix, layout, records.python),
        marked_wheels=marker.wheels if marker else {},
        unlike=compared.unlike if compared else None,
        unhashed=compared.unhashed if compared else (),
        cache=_cache(records, thorough) if thorough is not None else None,
    )
    return facts, compared.broken if compared else ()


def cached_only(thorough: Thorough | None) -> PackageFacts:
    """The same of a prefix where nothing is installed: what is to be installed may be damaged."""
    if thorough is None:
        return PackageFacts(layout="none")
    return PackageFacts(layout="none", cache=_cache(CondaRecords(), thorough))


def _cache(records: CondaRecords, thorough: Thorough) -> tuple[CacheDamage, ...]:
    folders = cache_facts.folders(thorough.caches, thorough.locked, records.unpacked.values())
    return tuple(cache_facts.damaged(folders, hashes=thorough.hashes))


def _of_installers(distributions: Distributions) -> Distributions:
    """What pip or uv put into a system's Python; a distributor's own tools know about the rest."""
    ours = [item for item in distributions.found if item.installer in {"pip", "uv"}]
    return Distributions(found=ours)


# --- who owns what --------------------------------------------------------------------------


def _replaced(records: CondaRecords, distributions: Distributions) -> dict[str, str]:
    """Wheels that took the place of what a conda package brought under that name."""
    brought = {
        canonical(entry.partition("-")[0].removesuffix(".egg-info")): package
        for entry, package in records.owners.items()
    }
    return {
        item.name: brought[item.name]
        for item in distributions.found
        if item.conda_owner is None and item.name in brought
    }


def _shared(
    records: CondaRecords, distributions: Distributions, replaced: Mapping[str, str]
) -> tuple[SharedPath, ...]:
    owned: dict[str, list[tuple[str, Library]]] = {}
    for package, library in records.libraries:
        if package.name not in replaced.values():
            owned.setdefault(library.path, []).append(
                (f"{package.name} {package.version}", library)
            )
    for wheel, library in distributions.libraries:
        owned.setdefault(library.path, []).append((f"{wheel.name} {wheel.version}", library))
    return tuple(
        SharedPath(
            path=path,
            owners=tuple(sorted({name for name, _ in owners})),
            differs=_differ([library for _, library in owners]),
        )
        for path, owners in sorted(owned.items())
        if len({name for name, _ in owners}) > 1
    )


def _differ(libraries: Iterable[Library]) -> bool:
    """Unless all record the same hash, or at least the same size where no hash is recorded."""
    listed = list(libraries)
    hashes = {item.sha256 for item in listed}
    if "" not in hashes:
        return len(hashes) > 1
    return len({item.size for item in listed}) > 1


# --- what an interrupted conda left ---------------------------------------------------------


def _history(prefix: Path, records: CondaRecords) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if "history" not in records.names:
        return (), ()
    history = read_history(prefix)
    unreadable = {line.partition("/")[2].partition(":")[0] for line in records.broken}
    known = {item.name for item in records.packages}
    known |= {name.removesuffix(".json").rsplit("-", 2)[0] for name in unreadable}
    return tuple(name for name in history.present if name not in known), history.commands


def _leftovers(
    prefix: Path, records: CondaRecords, layout: Layout, *, thorough: bool
) -> Iterator[str]:
    if layout != "conda":
        return
    walk = _all_names(prefix) if thorough else _some_names(prefix, records)
    found = (path for path in walk if _LEFTOVER.search(path))
    for count, path in enumerate(sorted(found)):
        if count < _MANY:
            yield path


def _some_names(prefix: Path, records: CondaRecords) -> Iterator[str]:
    yield from (f"conda-meta/{name}" for name in records.names)
    for folder in ("", "bin", "lib", "include", "share"):
        try:
            names = os.listdir(prefix / folder)  # noqa: PTH208 - thousands of names
        except OSError:
            continue
        yield from (f"{folder}/{name}" if folder else name for name in names)


def _all_names(prefix: Path) -> Iterator[str]:
    skipped = {"envs", "pkgs"}  # of a base environment: other environments, and the cache
    for folder, folders, files in os.walk(prefix):
        below = os.path.relpath(folder, prefix)
        if below == ".":
            folders[:] = [name for name in folders if name not in skipped]
        yield from (
            name if below == "." else f"{below}/{name}"
            for names in (folders, files)
            for name in names
        )


def disk_of(folder: Path) -> Disk | None:
    """What is left on a folder's disk; None where the kernel does not tell."""
    try:
        facts, device = os.statvfs(folder), folder.stat().st_dev
        blocks, files = quota(device)
    except OSError:
        return None
    return Disk(
        path=str(folder),
        device=device,
        free_bytes=facts.f_bavail * facts.f_frsize,
        free_inodes=facts.f_favail if facts.f_files else None,
        quota_bytes=blocks,
        quota_files=files,
    )
