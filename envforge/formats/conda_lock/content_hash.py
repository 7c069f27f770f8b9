"""Digests of what a lock is made from: conda-lock's own, and ours.

conda-lock decides by `metadata.content_hash` whether a lock is current. It hashes a JSON
rendering of its own data classes, quirks included; `content_hashes` builds the same JSON
(conda-lock 4, `content_hash.py`, `models/lock_spec.py`), so that a lock can be written and
checked without importing it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import urldefrag, urlsplit, urlunsplit

from envforge.formats.conda.conda_spec import conda_version, format_pip
from envforge.model.machine import Platform
from envforge.model.spec import Dependency, EnvironmentSpec, VirtualPackage

VirtualPackages = Mapping[Platform, tuple[VirtualPackage, ...]]

_EPOCH_OF_VIRTUAL_PACKAGES: Final = 1577854800000
"""A constant of conda-lock's: 2020-01-01 in milliseconds, in its authors' time zone."""
_DEFAULT_CHANNELS: Final = frozenset({"pkgs/main", "pkgs/r"})
_TOKEN: Final = re.compile(r"(?P<before>.*)/t/(?P<token>\$?\{?[a-zA-Z0-9-_]*\}?)(?P<after>/.*)")
_MARKER_SYSTEMS: Final[Mapping[str, tuple[str, str, str]]] = {
    # sys_platform, platform_system, os_name
    "linux": ("linux", "Linux", "posix"),
    "osx": ("darwin", "Darwin", "posix"),
    "win": ("win32", "Windows", "nt"),
}
_MARKER_CLAUSE: Final = re.compile(
    r"(?P<left>\w+|'[^']*'|\"[^\"]*\")\s*"
    r"(?:===|~=|==|!=|<=|>=|<|>|not\s+in|in)\s*"
    r"(?P<right>\w+|'[^']*'|\"[^\"]*\")"
)


def content_hashes(spec: EnvironmentSpec, virtual_packages: VirtualPackages) -> dict[str, str]:
    """What conda-lock 4 computes for environment.yml and virtual-packages.yml, per platform.

    Args:
        spec: environment.yml, with its versions as they stand there.
        virtual_packages: virtual-packages.yml; a platform that is not in it has none.
    """
    channels = [
        _compact({"url": url, "used_env_vars": list(names)})
        for url, names in map(channel_entry, locked_channels(spec.channels))
    ]
    return {
        platform: _sha256(
            {
                "channels": channels,
                "specs": _specs(spec, platform),
                "virtual_package_hash": {
                    "noarch": {"info": {"subdir": "noarch"}, "packages": {}},
                    platform: _repodata(platform, virtual_packages.get(platform, ())),
                },
            }
        )
        for platform in spec.platforms
    }


def inputs_digest(spec: EnvironmentSpec, virtual_packages: VirtualPackages) -> str:
    """SHA-256 over the meaning of environment.yml and virtual-packages.yml.

    Comments, order, spacing and `=1.26` against `1.26.*` make no difference; channel order
    does. The environment's name is a claim of its own and no part of it.
    """
    return _sha256(
        {
            "channels": list(spec.channels),
            "dependencies": sorted(_meaning(item) for item in spec.dependencies),
            "platforms": sorted(spec.platforms),
            "variables": spec.variables,
            "virtual_packages": {
                platform: sorted([item.name, item.version, item.build] for item in packages)
                for platform, packages in virtual_packages.items()
            },
        }
    )


def _meaning(dependency: Dependency) -> list[str]:
    if dependency.manager == "pip":
        return ["pip", dependency.name, format_pip(dependency)]
    version = conda_version(dependency.version, dependency.build)
    # With a build, `==1.2` and `1.2` differ for conda-lock's hash only.
    return [
        "conda",
        dependency.name,
        version.removeprefix("==") if "," not in version else version,
        dependency.build or "*",
        dependency.channel or "",
    ]


def locked_channels(channels: Iterable[str]) -> list[str]:
    """The channels that a lock names: `nodefaults` is a word to conda, and no channel."""
    return [channel for channel in channels if channel != "nodefaults"]


def channel_entry(channel: str) -> tuple[str, tuple[str, ...]]:
    """A channel as a lock holds it, with the environment variables in it, sorted.

    `https://host/t/$TOKEN/channel` becomes `https://host/t/${TOKEN}/channel`.
    """
    if "://" not in channel:
        return channel, ()
    parts = urlsplit(channel)
    names: set[str] = set()
    netloc, path = parts.netloc, parts.path
    if parts.username:
        user, _, host = netloc.rpartition("@")
        netloc = ":".join(_placeholder(part, names) for part in user.split(":")) + "@" + host
    token = _TOKEN.search(path)
    if token:
        path = f"{token['before']}/t/{_placeholder(token['token'], names)}{token['after']}"
    return urlunsplit(parts._replace(netloc=netloc, path=path)), tuple(sorted(names))


def _placeholder(part: str, names: set[str]) -> str:
    if not part.startswith("$"):
        return part
    name = part.lstrip("$").strip("{}")
    names.add(name)
    return f"${{{name}}}"


def _specs(spec: EnvironmentSpec, platform: Platform) -> list[dict[str, Any]]:
    """One entry for each (manager, name), the last one of a name; `pip:` brings pip along."""
    unique: dict[tuple[str, str], dict[str, Any]] = {}
    for item in spec.conda():
        unique["conda", item.name] = _conda_entry(item)
    for item in spec.pip():
        if _applies(item.marker, platform):
            unique["pip", item.name] = _pip_entry(item)
    if spec.pip():
        unique["conda", "pip"] = _entry("pip", "conda") | _versioned("*")
    return [unique[key] for key in sorted(unique)]


def _entry(name: str, manager: str) -> dict[str, Any]:
    return {"name": name, "manager": manager, "category": "main", "extras": []}


def _versioned(
    version: str, build: str | None = None, channel: str | None = None
) -> dict[str, str | None]:
    return {"version": version, "build": build, "conda_channel": channel, "hash": None}


def _conda_entry(item: Dependency) -> dict[str, Any]:
    version = conda_version(item.version, item.build)
    if item.build and not version:
        version = "*"  # `format_conda` writes `name=*=build`
    channel = canonical_channel(item.channel) if item.channel else None
    return _entry(item.name, "conda") | _versioned(version, item.build or None, channel)


def _pip_entry(item: Dependency) -> dict[str, Any]:
    entry = _entry(item.name, "pip") | {"extras": sorted(item.extras)}
    if item.marker:
        entry["markers"] = item.marker
    if item.url is None:
        version = item.version.replace("===", "==")
        return entry | _versioned(",".join(sorted(version.split(","))) or "*")
    if item.url.startswith("https://"):
        url, fragment = urldefrag(item.url)
        return entry | {"url": url, "hashes": [fragment.replace("=", ":")]}
    # conda-lock takes any other address for a path, its fragment included.
    path = PurePosixPath(item.url.removeprefix("file://")).as_posix()
    return entry | {"path": path, "is_directory": False}


def canonical_channel(channel: str) -> str:
    """The name conda gives a `channel::` prefix; an address loses its host there.

    conda keeps the path of the address, of a local one its last folder, and takes that for a
    name under its own alias.
    """
    name = (urlsplit(channel).path if "://" in channel else channel).strip("/")
    if channel.startswith("file:"):
        name = name.rpartition("/")[2]
    return "defaults" if name in _DEFAULT_CHANNELS else name


def _applies(marker: str, platform: Platform) -> bool:
    """Evaluate a marker as conda-lock does before it knows the Python: what is unknown, holds."""
    if not marker:
        return True
    from packaging.markers import Marker

    sys_platform, platform_system, os_name = _MARKER_SYSTEMS[platform.partition("-")[0]]
    known = {"sys_platform": sys_platform, "platform_system": platform_system, "os_name": os_name}

    def keep_or_hold(clause: re.Match[str]) -> str:
        names = {part for part in clause.groups() if part[0] not in "'\""}
        return clause[0] if names <= known.keys() else "os_name != 'unknown'"

    return Marker(_MARKER_CLAUSE.sub(keep_or_hold, marker)).evaluate(known)


def _repodata(platform: str, packages: Iterable[VirtualPackage]) -> dict[str, Any]:
    """The fake repodata in which conda-lock offers virtual packages to the solver."""
    return {
        "info": {"subdir": platform},
        "packages": dict(_record(item, platform) for item in packages),
    }


def _record(item: VirtualPackage, platform: str) -> tuple[str, dict[str, Any]]:
    build_string = "" if item.build == "0" else item.build
    # conda-lock 2 put the build number behind a build string; its successors keep that.
    build = f"{build_string}_0" if build_string else "0"
    return f"{item.name}-{item.version}-{build}.tar.bz2", {
        "name": item.name,
        "version": item.version,
        "build_string": build_string,
        "build_number": 0,
        "build": build,
        "noarch": "",
        "depends": [],
        "timestamp": _EPOCH_OF_VIRTUAL_PACKAGES,
        "package_type": "virtual_system",
        "subdir": platform,
    }


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _sha256(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
