"""pixi.lock in format version 6, and the pixi.toml that belongs to it.

Version 6 is what pixi 0.40 and newer read, and the newest that conda-lockfiles reads; pixi 0.71
writes 7. Name, version, build string, channel and platform of a conda package are what its
address says (rattler_lock, `parse/models/v6`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from envforge.formats.text import yaml_text
from envforge.formats.text.quoting import toml
from envforge.model.lock import LockedPackage

ENVIRONMENT: Final = "default"
PYPI: Final = "https://pypi.org/simple"
"""Named where there are wheels, as pixi does."""
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One direct dependency of pixi.toml, as a table: `{"version": "==1.0"}`."""

    name: str
    manager: str = "conda"
    fields: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    platform: str = ""
    """Where it is asked for; empty: on all platforms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What pixi.toml says."""

    name: str
    channels: tuple[str, ...]
    platforms: tuple[str, ...]
    wishes: tuple[Wish, ...]
    requirements: Mapping[str, str] = field(default_factory=dict)
    """`[system-requirements]`: the machine it is for."""
    variables: Mapping[str, str] = field(default_factory=dict)


def write_lock(
    packages: Iterable[LockedPackage], *, channels: Sequence[str], platforms: Sequence[str]
) -> str:
    """pixi.lock with one environment, `default`.

    Args:
        packages: of all platforms; each has an address.
        channels: addresses, in order of priority.
        platforms: those of the lock, one without packages too.
    """
    ordered = sorted(packages, key=lambda item: (item.manager, item.name, item.url))
    lines = ["version: 6", "environments:", f"  {ENVIRONMENT}:"]
    lines += ["    channels:" if channels else "    channels: []"]
    lines += [f"    - url: {yaml_text.scalar(url.rstrip('/') + '/')}" for url in channels]
    if any(item.manager == "pip" for item in ordered):
        lines += ["    indexes:", f"    - {PYPI}"]
    lines.append("    packages:")
    for platform in sorted(platforms):
        own = [f"      - {_address(item)}" for item in ordered if item.platform == platform]
        lines += [f"      {platform}:", *own] if own else [f"      {platform}: []"]
    unique = {(item.manager, item.url): item for item in ordered}
    lines.append("packages:" if unique else "packages: []")
    for item in unique.values():
        lines += _record(item)
    return "\n".join(lines) + "\n"


def _address(item: LockedPackage) -> str:
    return f"{'conda' if item.manager == 'conda' else 'pypi'}: {yaml_text.scalar(item.url)}"


def _record(item: LockedPackage) -> Iterator[str]:
    yield f"- {_address(item)}"
    if item.manager == "pip":
        yield f"  name: {yaml_text.scalar(item.name)}"
        yield f"  version: {yaml_text.scalar(item.version)}"
    if item.sha256:
        yield f"  sha256: {yaml_text.scalar(item.sha256)}"
    if item.md5:
        yield f"  md5: {yaml_text.scalar(item.md5)}"
    if item.depends:
        yield "  depends:" if item.manager == "conda" else "  requires_dist:"
        yield from (f"  - {yaml_text.scalar(spec)}" for spec in item.depends)
    if item.manager == "conda" and item.constrains:
        yield "  constrains:"
        yield from (f"  - {yaml_text.scalar(spec)}" for spec in item.constrains)
    if item.manager == "conda" and item.size is not None:
        yield f"  size: {item.size}"


def write_manifest(manifest: Manifest) -> str:
    """pixi.toml: the same manifest gives the same bytes."""
    lines = [
        f"# Exported by envforge from {manifest.name}.",
        "# `pixi install --frozen` takes pixi.lock as it is.",
        "[workspace]",
        f"name = {toml(manifest.name)}",
        f"channels = {_value(manifest.channels)}",
        f"platforms = {_value(manifest.platforms)}",
        'channel-priority = "strict"',
    ]
    lines += _table("system-requirements", sorted(manifest.requirements.items()))
    for platform in ("", *sorted({item.platform for item in manifest.wishes} - {""})):
        place = f"target.{platform}." if platform else ""
        for manager, title in (("conda", "dependencies"), ("pip", "pypi-dependencies")):
            wishes = [
                (item.name, _wish(item))
                for item in manifest.wishes
                if (item.platform, item.manager) == (platform, manager)
            ]
            lines += _table(f"{place}{title}", wishes)
    lines += _table("activation.env", sorted(manifest.variables.items()))
    return "\n".join(lines) + "\n"


def _wish(item: Wish) -> str | Mapping[str, str | tuple[str, ...]]:
    version = item.fields.get("version")
    return version if isinstance(version, str) and len(item.fields) == 1 else item.fields


def _table(
    title: str,
    rows: Iterable[tuple[str, str | Mapping[str, str | tuple[str, ...]]]],
) -> list[str]:
    lines = [f"{_key(name)} = {_value(value)}" for name, value in rows]
    return ["", f"[{title}]", *lines] if lines else []


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else toml(name)


def _value(value: str | tuple[str, ...] | Mapping[str, str | tuple[str, ...]]) -> str:
    if isinstance(value, str):
        return toml(value)
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())} }}"
    return f"[{', '.join(map(toml, value))}]"
