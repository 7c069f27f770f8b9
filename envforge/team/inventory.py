"""What a bill of materials of an environment holds: packages, wheels, models, and their ties."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from envforge.model.cuda import CPU
from envforge.model.export import ExportSubject
from envforge.model.inventory import Inventory, Part
from envforge.model.lock import LockedPackage, Target
from envforge.model.models import LockedModel
from envforge.team.addresses import channel_of, hub_address
from envforge.team.order import needed_names, roots

_INDEX_HOST: Final = "https://files.pythonhosted.org/"
_CONDA_NAMES: Final = {"torch": "pytorch"}
"""What wheels ask for, and a conda package of another name provides."""


def take(subject: ExportSubject, platforms: Sequence[str]) -> Inventory:
    """List everything; a package that several platforms share stands once."""
    packages = [item for item in subject.lock.packages if item.platform in platforms]
    models = subject.models.models if subject.models else ()
    parts = sorted((*_packages(packages), *map(_model, models)), key=lambda part: part.key)
    direct = sorted({*_direct(subject, packages), *(_model_key(item) for item in models)})
    target = subject.lock.target
    properties = _properties(target) if target else {}
    content: dict[str, Any] = {
        "name": subject.name,
        "parts": [asdict(part) for part in parts],
        "direct": direct,
        "properties": properties,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return Inventory(
        name=subject.name,
        digest=digest,
        parts=tuple(parts),
        direct=tuple(direct),
        properties=properties,
    )


def _packages(packages: Sequence[LockedPackage]) -> Iterator[Part]:
    by_key: dict[str, list[LockedPackage]] = {}
    for item in packages:
        by_key.setdefault(_key(item), []).append(item)
    known: dict[tuple[str, str, str], str] = {
        (item.platform, item.manager, item.name): _key(item) for item in packages
    }
    for key, items in by_key.items():
        needs = {need for item in items for need in _needs(item, known)}
        yield _package(key, items, tuple(sorted(needs - {key})))


def _package(key: str, items: Sequence[LockedPackage], needs: tuple[str, ...]) -> Part:
    item = items[0]
    hashes = {"md5": item.md5, "sha256": item.sha256}
    return Part(
        kind="conda" if item.manager == "conda" else "pypi",
        key=key,
        name=item.name,
        version=item.version,
        qualifiers=_conda_qualifiers(item) if item.manager == "conda" else _wheel_qualifiers(item),
        url=item.url,
        hashes={name: value for name, value in hashes.items() if value},
        size=item.size,
        platforms=tuple(sorted({item.platform for item in items})),
        needs=needs,
    )


def _key(item: LockedPackage) -> str:
    """The address alone tells packages apart, and two platforms may share one."""
    return f"{item.manager}:{item.name}:{item.url}"


def _conda_qualifiers(item: LockedPackage) -> dict[str, str]:
    kind = "conda" if item.filename.endswith(".conda") else "tar.bz2"
    found = {
        "build": item.build,
        "channel": channel_of(item, ()),
        "subdir": item.subdir,
        "type": kind,
    }
    return {key: value for key, value in found.items() if value}


def _wheel_qualifiers(item: LockedPackage) -> dict[str, str]:
    """A file name tells wheels of one version apart; an address, where no default index has it."""
    place = {} if item.url.startswith(_INDEX_HOST) else {"download_url": item.url}
    return {"file_name": item.filename, **place}


def _needs(item: LockedPackage, known: Mapping[tuple[str, str, str], str]) -> Iterator[str]:
    for name in needed_names(item):
        places = [("pip", name)] if item.manager == "pip" else []
        places += [("conda", name), ("conda", _CONDA_NAMES.get(name, name))]
        found = (known.get((item.platform, manager, other)) for manager, other in places)
        yield from [key for key in found if key][:1]


def _direct(subject: ExportSubject, packages: Sequence[LockedPackage]) -> Iterator[str]:
    if subject.spec is None:
        for platform in {item.platform for item in packages}:
            yield from map(_key, roots(item for item in packages if item.platform == platform))
        return
    asked = {(item.manager, item.name) for item in subject.spec.dependencies}
    yield from (_key(item) for item in packages if (item.manager, item.name) in asked)


def _model_key(model: LockedModel) -> str:
    return f"{model.repo.kind}:{model.repo.id}@{model.commit}"


def _model(model: LockedModel) -> Part:
    key = _model_key(model)
    files = (
        Part(
            kind="file",
            key=f"{key}#{item.path}",
            name=item.path,
            url=hub_address(model.repo, model.commit, item.path),
            hashes={"sha256": item.sha256},
            size=item.size,
        )
        for item in model.files
    )
    return Part(
        kind=model.repo.kind,
        key=key,
        name=model.repo.id,
        version=model.commit,
        url=hub_address(model.repo, model.commit),
        size=model.size,
        parts=tuple(files),
    )


def _properties(target: Target) -> dict[str, str]:
    found = {
        "torch": target.torch,
        "cuda": str(target.cuda) if target.cuda else CPU,
        "cudnn": target.cudnn or "",
        "python": target.python,
        "min-driver": target.min_driver or "",
        "architectures": " ".join(target.architectures),
    }
    return {f"envforge:{key}": value for key, value in found.items() if value}
