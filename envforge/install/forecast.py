"""Space and inodes that an install will need, known before the first byte is fetched.

Conda archives do not say what they unpack to, and locks do not keep sizes, so where nothing better
is known it is estimated. Ratios, each from one measurement of many files:

- conda archives: 50 packages with a CPU torch, 265 MB of `.conda`, unpacked to 1.4 GB in 33 500
  files: 5.3 times, 42 kB a file. Packages of CUDA libraries compress less, so this errs on the
  safe side.
- wheels: `torch-2.13.0+cpu-cp311` for Linux, 190 MB, unpacks to 698 MB in 12 248 files: 3.7 times,
  57 kB a file.
- a second environment of hardlinks, 22 442 files: 12 MB of folders, metadata and rewritten files,
  550 bytes a file; a folder for every ten files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from envforge.errors import NotEnoughSpace
from envforge.model.lock import LockedPackage
from envforge.model.prefix import ArchiveFacts, Disk, InstallPlan, SpaceForecast

_CONDA_RATIO: Final = 5.3
_WHEEL_RATIO: Final = 3.7
_CONDA_FILE: Final = 42_000
_WHEEL_FILE: Final = 57_000
_LINKED_FILE: Final = 550
_FILES_PER_FOLDER: Final = 10
_UNKNOWN_ARCHIVE: Final = 5_300_000
"""The mean of those 50 archives; stands in for an archive whose size nobody tells."""
_UNKNOWN: Final = ArchiveFacts()


@dataclass(frozen=True, slots=True)
class _Need:
    """One package's share."""

    manager: str
    cached: bool
    download: int
    unpacked: int
    files: int
    estimated: bool


def forecast(
    plan: InstallPlan, facts: Mapping[str, ArchiveFacts], *, hardlinked: Collection[str]
) -> SpaceForecast:
    """What the transaction will need.

    Args:
        plan: the transaction; what it frees is not counted, since it may go last.
        facts: what is known of the archives, by address.
        hardlinked: the managers (`conda`, `pip`) whose cache is on the prefix's filesystem.
    """
    coming = (*plan.add, *(new for _, new in plan.change))
    needs = [_need(item, facts.get(item.url, _UNKNOWN)) for item in coming]
    fresh = [need for need in needs if not need.cached]
    in_prefix = sum(_with_folders(need.files, own=need.manager not in hardlinked) for need in needs)
    return SpaceForecast(
        download_bytes=sum(need.download for need in fresh),
        cache_bytes=sum(need.unpacked for need in fresh if need.manager == "conda"),
        wheel_cache_bytes=sum(need.unpacked for need in fresh if need.manager == "pip"),
        prefix_bytes=sum(
            need.files * _LINKED_FILE + (0 if need.manager in hardlinked else need.unpacked)
            for need in needs
        ),
        inodes=in_prefix + sum(_with_folders(need.files, own=True) for need in fresh),
        prefix_inodes=in_prefix,
        estimated=sum(need.estimated for need in fresh),
    )


def _with_folders(files: int, *, own: bool) -> int:
    """Inodes: a hardlink has none of its own, its folder has."""
    return files // _FILES_PER_FOLDER + (files if own else 0)


def _need(package: LockedPackage, facts: ArchiveFacts) -> _Need:
    size = package.size if package.size is not None else facts.size
    download = _UNKNOWN_ARCHIVE if size is None else size
    wheel = package.manager == "pip"
    unpacked, _ = unpacked_size(package, facts)
    files = facts.files
    if files is None:
        files = max(1, unpacked // (_WHEEL_FILE if wheel else _CONDA_FILE))
    return _Need(package.manager, facts.cached, download, unpacked, files, size is None)


def unpacked_size(package: LockedPackage, facts: ArchiveFacts = _UNKNOWN) -> tuple[int, bool]:
    """Bytes of a package on disk, and whether that is an estimate."""
    if facts.unpacked_bytes is not None:
        return facts.unpacked_bytes, False
    size = package.size if package.size is not None else facts.size
    ratio = _WHEEL_RATIO if package.manager == "pip" else _CONDA_RATIO
    return round((_UNKNOWN_ARCHIVE if size is None else size) * ratio), True


def check_space(needed: SpaceForecast, prefix: Disk, cache: Disk, wheel_cache: Disk) -> None:
    """Compare with what is there; places on one filesystem share it.

    Raises:
        NotEnoughSpace: for the first thing that would run out.
    """
    cache_inodes = needed.inodes - needed.prefix_inodes
    cached = needed.cache_bytes + needed.wheel_cache_bytes
    wheels = cache_inodes * needed.wheel_cache_bytes // cached if cached else 0
    shares = (
        (prefix, needed.prefix_bytes, needed.prefix_inodes),
        (cache, needed.cache_bytes, cache_inodes - wheels),
        (wheel_cache, needed.wheel_cache_bytes, wheels),
    )
    for disk in {item.device: item for item, _, _ in reversed(shares)}.values():
        mine = [share for share in shares if share[0].device == disk.device]
        _check(disk, sum(share[1] for share in mine), sum(share[2] for share in mine))


def _check(disk: Disk, needed_bytes: int, needed_inodes: int) -> None:
    limits: Sequence[tuple[str, int, int | None]] = (
        ("bytes", needed_bytes, disk.free_bytes),
        ("quota bytes", needed_bytes, disk.quota_bytes),
        ("inodes", needed_inodes, disk.free_inodes),
        ("quota files", needed_inodes, disk.quota_files),
    )
    for resource, needed, available in limits:
        if available is not None and needed > available:
            raise NotEnoughSpace(
                path=disk.path, resource=resource, needed=needed, available=available
            )
