"""A live conda environment, whoever made it, as an imported one: nothing is started or written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

from envforge.adapters.files import is_there, read_start, unusable
from envforge.adapters.prefix.conda_records import CondaRecords, read_records
from envforge.adapters.prefix.distributions import read_distributions
from envforge.adapters.prefix.site_folders import layout_of, site_folders
from envforge.errors import InvalidFile, InvalidValue
from envforge.formats import archive_name
from envforge.formats.conda import conda_meta, conda_spec
from envforge.formats.python import python_requirement
from envforge.model.imported import ImportedEnvironment
from envforge.model.lock import Lock, LockedPackage
from envforge.model.machine import Platform
from envforge.model.prefix import InstalledPackage
from envforge.model.spec import Dependency
from envforge.verify.facts import Distribution

_ASSUMED: Final = "linux-64"
_BROUGHT_ALONG: Final = frozenset({"pip", "setuptools", "wheel"})
"""conda and venv put them into every Python."""


def read_source(prefix: Path) -> ImportedEnvironment:
    """Everything that a prefix holds, and what of it was asked for.

    conda notes that in `conda-meta/history`, pip and uv by a file `REQUESTED` beside a
    distribution (PEP 376); where nothing is noted, it is what nothing else depends on.

    Raises:
        InvalidFile: it holds no package record that can be read.
        FileNotUsable: it may not be read.
    """
    try:
        return _environment(prefix)
    except OSError as error:
        raise unusable(Path(str(error.filename or prefix)), error) from error


def _environment(prefix: Path) -> ImportedEnvironment:
    records = read_records(prefix)
    if not records.packages:
        broken = tuple(records.broken) or ("its conda-meta holds no package record",)
        raise InvalidFile(path=str(prefix), mistakes=broken)
    sites = site_folders(prefix, None, records, layout_of(prefix))
    found = read_distributions(prefix, sites, records.owners)
    wheels = [item for item in found.found if item.conda_owner is None]
    platform = _platform(records)
    conda = [_conda(item, platform, records) for item in records.packages]
    pip = [_wheel(item, platform) for item in wheels]
    channels = _channels(conda)
    return ImportedEnvironment(
        name=prefix.absolute().name,
        lock=Lock(
            packages=tuple(sorted([*conda, *pip])),
            platforms=(cast("Platform", platform),),
            channels=channels,
            content_hash={},
            sources=(),
        ),
        dependencies=(*_asked(prefix, records), *_asked_of_pip(prefix, wheels)),
        channels=channels,
        platforms=(platform,),
        variables=conda_meta.state_variables(_text(prefix / "conda-meta" / "state")),
        local=tuple(item.name for item in wheels if _is_local(item)),
        notes=tuple(_notes(prefix, records, found.broken, wheels)),
    )


def _platform(records: CondaRecords) -> str:
    found = [item for item in records.subdirs.values() if item and item != "noarch"]
    return records.subdirs.get("python") or next(iter(found), _ASSUMED)


def _conda(item: InstalledPackage, platform: str, records: CondaRecords) -> LockedPackage:
    specs = records.depends.get(item.name, ())
    return LockedPackage(
        platform=platform,
        name=item.name,
        version=item.version,
        build=item.build,
        url=item.url,
        sha256=item.sha256,
        md5=item.md5,
        depends=tuple(" ".join(filter(None, conda_spec.split_depends(spec))) for spec in specs),
    )


def _wheel(item: Distribution, platform: str) -> LockedPackage:
    always, sometimes = python_requirement.depends(item.requires)
    return LockedPackage(
        platform=platform,
        name=item.name,
        manager="pip",
        version=item.version,
        url=item.local_url,
        sha256=item.archive_sha256,
        depends=(*always, *sometimes),
    )


def _is_local(item: Distribution) -> bool:
    """A wheel that was installed by its address can be had again; what else has one cannot."""
    address = item.local_url
    is_remote = address.startswith(("https://", "http://")) and ".whl" in address
    return item.editable or bool(address and not is_remote)


def _channels(packages: list[LockedPackage]) -> tuple[str, ...]:
    """Those that packages came from, the most used first."""
    found = [archive_name.channel_of(item.url) for item in packages if item.url]
    return tuple(sorted({item for item in found if item}, key=lambda item: -found.count(item)))


def _asked(prefix: Path, records: CondaRecords) -> Iterator[Dependency]:
    present = {item.name for item in records.packages}
    specs = conda_meta.requested_specs(_text(prefix / "conda-meta" / "history") or "")
    for text in specs:
        try:
            dependency = conda_spec.parse(text)
        except InvalidValue:  # of a grammar that is ours no more: its name says enough
            name = conda_spec.split_depends(text)[0].lower()
            dependency = Dependency(name=name)
        if dependency.name in present:
            yield dependency


def _asked_of_pip(prefix: Path, wheels: list[Distribution]) -> Iterator[Dependency]:
    noted = [item for item in wheels if is_there(prefix / item.folder / "REQUESTED")]
    needed = {
        spec.partition(" ")[0]
        for item in wheels
        for spec in python_requirement.depends(item.requires)[0]
    }
    for item in noted or [item for item in wheels if item.name not in needed]:
        if item.name not in _BROUGHT_ALONG and not _is_local(item):
            url = item.local_url or None
            version = "" if url else f"=={item.version}"
            yield Dependency(name=item.name, version=version, manager="pip", url=url)


def _notes(
    prefix: Path, records: CondaRecords, broken: list[str], wheels: list[Distribution]
) -> Iterator[str]:
    yield from (f"unreadable: {item}" for item in (*records.broken, *broken))
    for item in wheels:
        if item.editable:
            yield f"`{item.name}` is an editable install of a folder"
        elif _is_local(item):
            yield f"`{item.name}` was installed from a folder, a repository or a file"
    if pinned := _text(prefix / "conda-meta" / "pinned"):
        specs = [line.strip() for line in pinned.splitlines() if line.strip()[:1] not in ("", "#")]
        if specs:
            yield f"conda's pins: {', '.join(specs)}"


def _text(path: Path) -> str | None:
    try:
        return read_start(str(path), 1 << 22).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
