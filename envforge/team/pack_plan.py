"""What goes into a pack, in which order, and whether what came out of one is all that is needed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envforge.formats.packs import pack_index, pack_tar
from envforge.model.lock import LockedPackage
from envforge.model.models import ModelsLock
from envforge.model.pack import MemberKind, PackedEnvironment

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_WHEEL: Final = ".whl"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentToPack:
    """One environment, for one platform."""

    name: str
    files: Mapping[str, str]
    """Of its folder, in the order they are written."""
    packages: tuple[LockedPackage, ...]
    """Of the platform."""
    models: ModelsLock | None = None
    """None: their files stay out."""
    channels: tuple[str, ...] = ()
    """Of the lock: how its packages are read, `https://host/t/$TOKEN/ch`."""

    @property
    def listed(self) -> PackedEnvironment:
        """The environment as the index lists it."""
        return PackedEnvironment(
            name=self.name, files=tuple(self.files), models=self.models is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMember:
    """A member, and where its bytes come from: one of `data`, `package`, `file`, or the store."""

    name: str
    kind: MemberKind
    sha256: str
    data: bytes | None = None
    package: LockedPackage | None = None
    """Its archive."""
    file: Path | None = None
    size: int | None = None
    """Bytes; None: only fetching it tells."""


def plan(environments: Iterable[EnvironmentToPack]) -> tuple[PlannedMember, ...]:
    """All members of these environments: content that several share stands there once.

    Folders come first, then packages, wheels and models, each kind in the order of its names, so
    that equal environments give equal packs, whatever order they were named in.
    """
    ordered = sorted(environments, key=lambda item: item.name)
    folders = [member for item in ordered for member in _folder(item)]
    archives = {pkg.sha256: pkg for item in ordered for pkg in sorted(item.packages)}
    models = {
        sha256: file.size
        for item in ordered
        for sha256, file in (item.models.files if item.models else {}).items()
        if sha256 not in archives
    }
    taken: set[str] = set()
    contents = [_archive(pkg, taken) for pkg in sorted(archives.values())]
    contents += [
        PlannedMember(name=f"models/{sha256}", kind="model", sha256=sha256, size=size)
        for sha256, size in models.items()
    ]
    order: list[MemberKind] = ["package", "wheel", "model"]
    return (*folders, *sorted(contents, key=lambda item: (order.index(item.kind), item.name)))


def _folder(environment: EnvironmentToPack) -> Iterator[PlannedMember]:
    for file, text in environment.files.items():
        data = text.encode()
        yield PlannedMember(
            name=pack_index.environment_member(environment.name, file),
            kind="environment",
            sha256=hashlib.sha256(data).hexdigest(),
            data=data,
            size=len(data),
        )


def _archive(package: LockedPackage, taken: set[str]) -> PlannedMember:
    wheel = package.manager == "pip"
    return PlannedMember(
        name=_member_name(package, taken),
        kind="wheel" if wheel else "package",
        sha256=package.sha256,
        package=package,
        size=package.size,
    )


def _member_name(package: LockedPackage, taken: set[str]) -> str:
    """A name that people know it by: below `packages/` lies what a channel's folder holds.

    Two channels may have different files of one name, and wheels' names grow beyond what a tar
    holds: then it goes by its hash.
    """
    wheel = package.manager == "pip"
    top = "wheels" if wheel else f"packages/{package.subdir}"
    name = f"{top}/{package.filename}"
    if name in taken or not pack_tar.is_name(name):
        name = f"{'wheels' if wheel else 'packages'}/{package.sha256}"
    taken.add(name)
    return name


def unfit(packages: Iterable[LockedPackage]) -> tuple[str, ...]:
    """Why packages of a lock cannot be packed, a clause each; empty: all can."""
    return tuple(_unfit(packages))


def _unfit(packages: Iterable[LockedPackage]) -> Iterator[str]:
    for item in packages:
        stem = f"{item.name}-{item.version}-{item.build}"
        if not all(pack_tar.is_name(name) and "/" not in name for name in (stem, item.filename)):
            yield f"{stem!r} (`{item.filename}`) has a name that no package has"
        elif not _SHA256.fullmatch(item.sha256):
            yield f"`{item.name}` is locked without a sha256"
        elif item.manager == "pip" and not item.filename.endswith(_WHEEL):
            yield f"`{item.name}` is no wheel, and would have to be built (`{item.filename}`)"


def missing(
    packages: Iterable[LockedPackage], models: ModelsLock | None, held: Mapping[str, object]
) -> tuple[str, ...]:
    """What locks name and a pack does not hold, each as a person knows it.

    Args:
        packages: of the lock, for the pack's platform.
        models: None: the pack does not claim to hold them.
        held: contents of the pack, by sha256.
    """
    lacking = [item.filename for item in packages if item.sha256 not in held]
    for model in models.models if models else ():
        lacking += [
            f"{model.repo.shown}/{file.path}" for file in model.files if file.sha256 not in held
        ]
    return tuple(lacking)
