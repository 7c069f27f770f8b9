"""Channel names become addresses: conda's rules, plus `--mirror`.

A channel has one canonical address, which locks hold, and may be read elsewhere: from a
mirror, from a site's own server that conda's settings name, or with credentials. The
names of conda's own settings and how they combine: conda documentation, "Channels" and
"Settings" (channel_alias, custom_channels, mirrored_channels).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from envforge.errors import InvalidValue, Unreachable
from envforge.model.machine import PLATFORMS
from envforge.model.settings import CondaSettings, Settings
from envforge.model.solving import Channel, without_credentials

NODEFAULTS: Final = "nodefaults"
_PUBLIC: Final = "https://conda.anaconda.org"
_ANACONDA: Final = "https://repo.anaconda.com"
_DEFAULTS: Final = ("pkgs/main", "pkgs/r")
_WELL_KNOWN: Final = frozenset({"conda-forge", "nvidia", "pytorch"})
"""Their address in a lock never depends on one site's settings: see `_canonical`."""
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def resolve_channels(names: Sequence[str], settings: Settings) -> tuple[Channel, ...]:
    """Find every channel of environment.yml, in order; `nodefaults` is no channel.

    Raises:
        InvalidValue: a name that cannot be one, or `defaults` beside `nodefaults`.
        Unreachable: a folder (`--mirror`, a path) that has no such channel.
    """
    if "defaults" in names and NODEFAULTS in names:
        raise InvalidValue(
            what="channel",
            value="defaults",
            reason="stands beside `nodefaults`, which rules it out",
            remedy="remove one of them; envforge itself needs no `defaults`",
        )
    listed = [name for name in names if name != NODEFAULTS]
    expanded = [part for name in listed for part in (_DEFAULTS if name == "defaults" else (name,))]
    return tuple(_resolve(name, settings) for name in dict.fromkeys(expanded))


def folder_of(address: str) -> Path | None:
    """The folder that an address means, or None where it is on a network."""
    if "://" not in address:
        return Path(address)
    parts = urlsplit(address)
    if parts.scheme != "file":
        return None
    from urllib.request import url2pathname  # brings http and ssl along

    return Path(url2pathname(parts.path))


def _resolve(name: str, settings: Settings) -> Channel:
    if not name or any(char.isspace() for char in name):
        raise InvalidValue(what="channel", value=name, reason="is no channel name or address")
    if "://" in name:
        return _addressed(name, settings)
    if name.startswith(("/", "./", "../", "~")):
        folder = Path(name).expanduser().resolve()
        _check_folder(folder, name)
        return Channel(name=name, url=folder.as_uri())
    return _named(name, settings)


def _addressed(given: str, settings: Settings) -> Channel:
    """An address as it was written: its credentials are for reading only."""
    address = _without_subdir(_filled_in(given, settings.environment).rstrip("/"))
    canonical = without_credentials(address)
    name = given if "$" in given else canonical
    for public in (_PUBLIC, _ANACONDA):
        if canonical.startswith(f"{public}/"):
            channel = _named(canonical.removeprefix(f"{public}/"), settings)
            read = channel.mirror or (address if address != canonical else None)
            return Channel(name=name, url=canonical, mirror=read)
    folder = folder_of(canonical)
    if folder is not None:
        _check_folder(folder, canonical)
    return Channel(name=name, url=canonical, mirror=address if address != canonical else None)


def _filled_in(address: str, environment: Mapping[str, str]) -> str:
    """`$NAME` stands for a secret in environment.yml, as it does for conda-lock."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in environment:
            raise InvalidValue(
                what="channel",
                value=address,
                reason=f"names the environment variable ${name}, which is not set",
                remedy=f"`export {name}=…`",
            )
        return environment[name]

    return _VARIABLE.sub(value, address)


def _without_subdir(address: str) -> str:
    head, _, tail = address.rpartition("/")
    return head if tail in {*PLATFORMS, "noarch", "osx-64"} else address


def _named(name: str, settings: Settings) -> Channel:
    canonical = _canonical(name, settings.conda)
    if settings.mirror is not None:
        return Channel(name=name, url=canonical, mirror=_below(settings.mirror, name))
    read = _site_address(name, settings.conda)
    return Channel(name=name, url=canonical, mirror=None if read == canonical else read)


def _below(root: str, name: str) -> str:
    """A channel below a mirror's root, found by its name."""
    if "://" in root and not root.startswith("file:"):
        return f"{root.rstrip('/')}/{name}"
    base = folder_of(root)
    assert base is not None  # noqa: S101 - the line above left only folders
    folder = base / name
    if name == "pkgs/main" and not folder.is_dir():
        folder = base / "defaults"
    if not folder.is_dir():
        there = (
            sorted(path.name for path in base.iterdir() if path.is_dir()) if base.is_dir() else []
        )
        listed = f"; it holds {', '.join(there[:8])}" if there else ""
        raise Unreachable(
            url=str(folder),
            reason=f"the mirror has no channel `{name}`{listed}",
            remedy="check `--mirror`: channels are the folders below it, each by its name",
        )
    return str(folder)


def _check_folder(folder: Path, named: str) -> None:
    if not folder.is_dir():
        raise Unreachable(
            url=named,
            reason="there is no such folder",
            remedy="give the folder that holds `linux-64` and `noarch`",
        )


def _canonical(name: str, conda: CondaSettings) -> str:
    """What a lock holds.

    conda-forge, pytorch and nvidia keep their public address even where a site reads them
    from its own server, so that two sites write the same lock; any other name means what
    this site's settings say.
    """
    if name.startswith("pkgs/"):
        return f"{_ANACONDA}/{name}"
    if name.partition("/")[0] in _WELL_KNOWN:
        return f"{_PUBLIC}/{name}"
    return without_credentials(_site_address(name, conda))


def _site_address(name: str, conda: CondaSettings) -> str:
    """Where this site's conda would read a name."""
    if conda.mirrored_channels.get(name):
        return conda.mirrored_channels[name][0].rstrip("/")
    for prefix in _prefixes(name):
        if prefix in conda.custom_channels:
            base = conda.custom_channels[prefix].rstrip("/")
            return f"{base if '://' in base else f'{conda.channel_alias}/{base}'}/{name}"
    if name.startswith("pkgs/"):
        return f"{_ANACONDA}/{name}"
    return f"{conda.channel_alias.rstrip('/')}/{name}"


def _prefixes(name: str) -> list[str]:
    """`a/label/b`, `a/label`, `a`: the longest setting counts."""
    parts = name.split("/")
    return ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
