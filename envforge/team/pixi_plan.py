"""pixi.toml and pixi.lock: one environment, `default`, that asks for what ours asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from envforge.formats.conda import conda_spec
from envforge.formats.pixi import pixi_writer
from envforge.formats.pixi.pixi_writer import Manifest, Wish
from envforge.model.export import ExportFile, ExportSubject, Loss
from envforge.model.lock import LockedPackage
from envforge.model.spec import Dependency
from envforge.team.addresses import channel_address, channel_of
from envforge.team.order import roots

_REQUIREMENTS: Final[Mapping[str, str]] = {
    "__cuda": "cuda",
    "__glibc": "libc",
    "__linux": "linux",
    "__osx": "macos",
    "__archspec": "archspec",
}
"""Virtual packages by pixi's name in `[system-requirements]`."""
_INDEX: Final = re.compile(r"https://files\.pythonhosted\.org/|https://pypi\.org/")

Fields = dict[str, "str | tuple[str, ...]"]


def files(subject: ExportSubject, platforms: Sequence[str]) -> tuple[ExportFile, ...]:
    """Both files: pixi reads no lock without its manifest."""
    lock = subject.lock
    packages = [item for item in lock.packages if item.platform in platforms]
    manifest = Manifest(
        name=subject.name,
        channels=_channels(subject),
        platforms=tuple(platforms),
        wishes=tuple(_wishes(subject, platforms)),
        requirements=_requirements(subject, platforms)[0],
        variables=subject.variables,
    )
    addresses = [channel_address(item, packages) for item in _channels(subject)]
    return (
        ExportFile(name="pixi.toml", text=pixi_writer.write_manifest(manifest)),
        ExportFile(
            name="pixi.lock",
            text=pixi_writer.write_lock(packages, channels=addresses, platforms=platforms),
        ),
    )


def losses(subject: ExportSubject, platforms: Sequence[str]) -> tuple[Loss, ...]:
    """What pixi derives or leaves out."""
    asked = subject.spec is not None
    differing = _requirements(subject, platforms)[1]
    return (
        *(
            ()
            if asked
            else (
                Loss(what="what was asked for is not known: pixi.toml names what no other needs"),
            )
        ),
        *(
            (Loss(what="differ by platform, and pixi.toml has one value", names=differing),)
            if differing
            else ()
        ),
        Loss(what="licences and `constrains` of packages, which conda-lock.yml does not hold"),
    )


def _channels(subject: ExportSubject) -> tuple[str, ...]:
    """Those of the lock, else where its packages came from."""
    if subject.lock.channels:
        return subject.lock.channels
    conda = (item for item in subject.lock.packages if item.manager == "conda")
    return tuple(dict.fromkeys(channel_of(item, ()) for item in conda))


def _requirements(
    subject: ExportSubject, platforms: Iterable[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """What all platforms that say anything agree on; and what they do not agree on."""
    values: dict[str, set[str]] = {}
    for platform in platforms:
        for item in subject.virtual.get(platform, ()):
            key = _REQUIREMENTS.get(item.name)
            value = item.build if key == "archspec" else item.version
            if key and value not in {"", "0"}:
                values.setdefault(key, set()).add(value)
    agreed = {key: next(iter(found)) for key, found in values.items() if len(found) == 1}
    return agreed, tuple(sorted(values.keys() - agreed.keys()))


def _wishes(subject: ExportSubject, platforms: Sequence[str]) -> Iterator[Wish]:
    """Every direct dependency; by platform where platforms differ in it."""
    for item in _asked(subject, platforms):
        found = {
            platform: _fields(item, locked, subject)
            for platform in platforms
            if (locked := _locked(subject, item, platform)) is not None
        }
        values = list(found.values())
        wish = Wish(name=item.name, manager=item.manager)
        if len(values) == len(platforms) and all(value == values[0] for value in values):
            yield replace(wish, fields=values[0])
            continue
        for platform, value in found.items():
            yield replace(wish, fields=value, platform=platform)


def _asked(subject: ExportSubject, platforms: Sequence[str]) -> tuple[Dependency, ...]:
    if subject.spec is not None:
        return subject.spec.dependencies
    found = {
        (item.manager, item.name): Dependency(
            name=item.name, manager=item.manager, version=f"={item.version}"
        )
        for platform in platforms
        for item in roots(subject.lock.for_platform(platform))
    }
    return tuple(found[key] for key in sorted(found))


def _locked(subject: ExportSubject, item: Dependency, platform: str) -> LockedPackage | None:
    return next(
        (
            package
            for package in subject.lock.for_platform(platform)
            if (package.manager, package.name) == (item.manager, item.name)
        ),
        None,
    )


def _fields(item: Dependency, locked: LockedPackage, subject: ExportSubject) -> Fields:
    if item.manager == "pip":
        # torch's own index cannot be named for one package in a way that every pixi reads.
        by_address = item.url or not _INDEX.match(locked.url)
        found: Fields = {"url": locked.url} if by_address else {"version": f"=={locked.version}"}
        return found | ({"extras": item.extras} if item.extras else {})
    exact = not item.version or conda_spec.is_exact(item)
    wanted = f"=={locked.version}" if exact and item.version else item.version or "*"
    fields: Fields = {"version": wanted}
    if item.build:
        fields["build"] = item.build
    if item.channel:
        fields["channel"] = channel_of(locked, _channels(subject))
    return fields
