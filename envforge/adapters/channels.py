"""Channel names become addresses: conda's rules, plus `--mirror`.

A channel has one canonical address, which locks hold, and may be read elsewhere: from a
mirror, from a site's own server that conda's settings name, or with credentials. The
names of conda's own settings and how they combine: conda documentation, "Channels" and
"Settings" (channel_alias, custom_channels, mirrored_channels).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from envforge.adapters.files import is_folder
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
    expanded = [part for name in listed for part in _parts(name, settings.conda)]
    return tuple(_resolve(name, settings) for name in dict.fromkeys(expanded))


def _parts(name: str, conda: CondaSettings) -> tuple[str, ...]:
    """A name that means several channels, as conda has them: `defaults`, and the site's own."""
    if name in conda.custom_multichannels:
        return conda.custom_multichannels[name]
    if name == "defaults":
        return conda.default_channels or _DEFAULTS
    return (name,)


def routes(channels: Sequence[Channel]) -> dict[str, tuple[str, ...]]:
    """Address that may be written down to where it is read, for those it makes a difference to.

    Engines are given the former alone, so that none of their caches and messages holds a secret.
    """
    found = {}
    for channel in channels:
        read = channel.mirror or channel.url
        bare = without_credentials(read)
        if folder_of(read) is None and (channel.more or bare != read.rstrip("/")):
            found[bare] = (read, *channel.more)
    return found


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
    if address == canonical:
        address = _with_login(canonical, settings)
    own = address if address != canonical else None
    for public in (_PUBLIC, _ANACONDA):
        if canonical.startswith(f"{public}/"):
            channel = _named(canonical.removeprefix(f"{public}/"), settings)
            return replace(channel, name=name, url=canonical, mirror=channel.mirror or own)
    folder = folder_of(canonical)
    if folder is not None:
        _check_folder(folder, canonical)
    others = _mirrors_of(canonical, settings.conda)
    return Channel(
        name=name, url=canonical, mirror=own or next(iter(others), None), more=others[1:]
    )


def _mirrors_of(canonical: str, conda: CondaSettings) -> tuple[str, ...]:
    """`mirrored_channels` by the first of its addresses, which is what locks hold."""
    return next(
        (
            urls
            for urls in conda.mirrored_channels.values()
            if urls and without_credentials(urls[0]) == canonical
        ),
        (),
    )


def _with_login(canonical: str, settings: Settings) -> str:
    """An address of a lock with the credentials that settings or environment.yml know for it."""
    known = {without_credentials(item): item for item in _known_addresses(settings)}
    for bare in sorted(known, key=len, reverse=True):
        if canonical == bare or canonical.startswith(f"{bare}/"):
            return f"{known[bare].rstrip('/')}{canonical.removeprefix(bare)}"
    return canonical


def _known_addresses(settings: Settings) -> Iterator[str]:
    """Those that were given with credentials."""
    conda = settings.conda
    several = (*conda.mirrored_channels.values(), *conda.custom_multichannels.values())
    given = (
        *(settings.channels, conda.channels, conda.default_channels, *several),
        *(conda.custom_channels.values(), (conda.channel_alias, settings.mirror or "")),
    )
    for address in (item for items in given for item in items if "://" in item):
        if without_credentials(address) != address.rstrip("/"):
            with suppress(InvalidValue):  # a variable that is not set: it is asked for without
                yield _without_subdir(_filled_in(address, settings.environment).rstrip("/"))


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
    read, *more = _site_addresses(name, settings.conda)
    same = read == canonical and not more
    return Channel(name=name, url=canonical, mirror=None if same else read, more=tuple(more))


def _below(root: str, name: str) -> str:
    """A channel below a mirror's root, found by its name."""
    if "://" in root and not root.startswith("file:"):
        return f"{root.rstrip('/')}/{name}"
    base = folder_of(root)
    assert base is not None  # noqa: S101 - the line above left only folders
    folder = base / name
    if name == "pkgs/main" and not is_folder(folder):
        folder = base / "defaults"
    if not is_folder(folder):
        readable = is_folder(base) and os.access(base, os.R_OK | os.X_OK)
        there = sorted(path.name for path in base.iterdir() if is_folder(path)) if readable else []
        listed = f"; it holds {', '.join(there[:8])}" if there else ""
        raise Unreachable(
            url=str(folder),
            reason=f"the mirror has no channel `{name}`{listed}",
            remedy="check `--mirror`: channels are the folders below it, each by its name",
        )
    return str(folder)


def _check_folder(folder: Path, named: str) -> None:
    if not is_folder(folder):
        raise Unreachable(
            url=named,
            reason="there is no such folder, or none that you may enter",
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
    return without_credentials(_site_addresses(name, conda)[0])


def _site_addresses(name: str, conda: CondaSettings) -> tuple[str, ...]:
    """Where this site's conda would read a name: the first, and the others where that fails."""
    if conda.mirrored_channels.get(name):
        return tuple(url.rstrip("/") for url in conda.mirrored_channels[name])
    for prefix in _prefixes(name):
        if prefix in conda.custom_channels:
            base = conda.custom_channels[prefix].rstrip("/")
            return (f"{base if '://' in base else f'{conda.channel_alias}/{base}'}/{name}",)
    if name.startswith("pkgs/"):
        return (f"{_ANACONDA}/{name}",)
    return (f"{conda.channel_alias.rstrip('/')}/{name}",)


def _prefixes(name: str) -> list[str]:
    """`a/label/b`, `a/label`, `a`: the longest setting counts."""
    parts = name.split("/")
    return ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
