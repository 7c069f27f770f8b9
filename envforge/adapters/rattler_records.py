"""Package records as rattler takes and writes them; imported only where rattler runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rattler.package import BuildString
from rattler.prefix import PrefixRecord
from rattler.repo_data import PackageRecord, RepoDataRecord

from envforge.adapters import package_cache
from envforge.formats.conda.conda_meta import fuller_depends
from envforge.model.lock import LockedPackage

_OWN: Final = (
    "arch",
    "build_number",
    "constrains",
    "depends",
    "features",
    "license",
    "license_family",
    "noarch",
    "platform",
    "python_site_packages_path",
    "timestamp",
    "track_features",
)
"""What a package says of itself, and a lock may not keep."""


def record_path(prefix: Path, package: LockedPackage) -> Path:
    """The package's file in conda-meta."""
    return prefix / "conda-meta" / f"{package_cache.stem(package)}.json"


def make_record(package: LockedPackage, cache: Path, address: str | None) -> RepoDataRecord:
    """The record that rattler installs, and writes into conda-meta.

    A cached package tells everything of itself, so its record is complete from the start. One
    that is still to be fetched (from `address`) has what the lock says, and is completed later.
    """
    if address is None:
        record = PackageRecord.from_index_json(package_cache.index_json(cache, package))
        _apply_lock(record, package)
    else:
        record = _bare_record(package)
    url = address or package.url
    return RepoDataRecord(record, package.filename, url, url.rsplit("/", 2)[0])


def _bare_record(package: LockedPackage) -> PackageRecord:
    return PackageRecord(
        name=package.name,
        version=package.version,
        build=BuildString(package.build),
        build_number=0,
        subdir=package.subdir,
        depends=list(package.depends),
        constrains=list(package.constrains),
        sha256=bytes.fromhex(package.sha256),
        md5=bytes.fromhex(package.md5) if package.md5 else None,
        size=package.size,
        python_site_packages_path=_free_threaded_path(package),
    )


def _free_threaded_path(package: LockedPackage) -> str | None:
    """Free-threaded Pythons keep packages elsewhere; before unpacking only the build tells.

    conda-forge names those builds `…_cp313t`; the path is that of CEP 17.
    """
    if package.name != "python" or not package.build.endswith("t"):
        return None
    return f"lib/python{'.'.join(package.version.split('.')[:2])}t/site-packages"


def complete_records(prefix: Path, cache: Path, packages: Sequence[LockedPackage]) -> None:
    """Make records of conda-meta what conda would have left there.

    Fills in what a lock does not keep (constrains, license, timestamp, features), and puts the
    channel's own address in place of a mirror's.
    """
    for package in packages:
        path, index = record_path(prefix, package), package_cache.index_json(cache, package)
        if path.is_file() and index.is_file():
            _rewrite(path, index, package)


def open_records(prefix: Path, packages: Sequence[LockedPackage]) -> None:
    """Give records the permissions of other files: rattler lets only their owner read them."""
    umask = os.umask(0o022)
    os.umask(umask)
    for package in packages:
        path = record_path(prefix, package)
        if path.is_file():
            path.chmod(0o666 & ~umask)


def _rewrite(path: Path, index: Path, package: LockedPackage) -> None:
    record = PrefixRecord.from_path(path)
    own = PackageRecord.from_index_json(index)
    for name in _OWN:
        setattr(record, name, getattr(own, name))
    _apply_lock(record, package)
    record.url = package.url
    record.channel = package.channel_url
    aside = path.with_suffix(".tmp")  # not `.json`: every tool reads all of those
    record.write_to_path(aside, pretty=True)
    aside.replace(path)


def _apply_lock(record: Any, package: LockedPackage) -> None:
    """What the lock says counts, but for dependencies that it shortened."""
    record.sha256 = bytes.fromhex(package.sha256)
    if package.md5:
        record.md5 = bytes.fromhex(package.md5)
    if package.size is not None:
        record.size = package.size
    record.subdir = package.subdir
    record.depends = fuller_depends(package.depends, record.depends)
    if package.constrains:
        record.constrains = list(package.constrains)
