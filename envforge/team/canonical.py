"""Addresses that everybody can use: which in a lock are one site's, and what they stand for.

A lock names the public address of a package whatever mirror it was read from. A channel or a
wheel that environment.yml names by its address was chosen so, and is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from envforge.model.lock import LockedPackage
from envforge.team.addresses import ANACONDA, PUBLIC

_PUBLIC_CHANNELS: Final = frozenset(
    {"conda-forge", "pytorch", "pytorch-lts", "nvidia", "bioconda", "xformers", "rapidsai"}
)
_PKGS: Final = re.compile(r"/(?P<channel>pkgs/(?:main|r|msys2))$")
_LAST: Final = re.compile(r"/(?P<channel>[^/]+(?:/label/[^/]+)?)$")
_REGISTRY_PATH: Final = re.compile(r"/packages/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/[^/]+$")
_REGISTRY: Final = "https://files.pythonhosted.org"
_TORCH_PATH: Final = re.compile(r"/whl/(?:(?:cu\d{2,3}|cpu)/)?[^/]+\.whl$")
_TORCH: Final = "https://download.pytorch.org"
_PUBLIC_HOSTS: Final = re.compile(
    r"(?:[\w-]+\.)*(?:anaconda\.(?:org|com)|prefix\.dev|pypi\.org|pythonhosted\.org|pytorch\.org"
    r"|nvidia\.com|github\.com|githubusercontent\.com|gitlab\.com|huggingface\.co|pyg\.org)"
)
_PRIVATE_HOST: Final = re.compile(
    r"localhost|127\..*|10\..*|192\.168\..*|172\.(?:1[6-9]|2\d|3[01])\..*|\[.*\]|[^.]+"
    r"|.*\.(?:local|internal|intranet|corp|lan|home|private)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of the addresses that may stand in a lock."""

    channels: Collection[str] = ()
    """Channels of the lock, by name or address."""
    mirrors: Mapping[str, str] = field(default_factory=dict)
    """Address that this site reads a channel at, to the channel's own."""
    chosen: Collection[str] = ()
    """Addresses of wheels and indexes that were asked for as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strange:
    """An address that others may not reach."""

    host: str
    canonical: str = ""
    """The address to write instead; empty: nobody can tell."""
    is_private: bool = False
    """Whether no other network could ever reach it."""


def judge(package: LockedPackage, known: Known) -> Strange | None:
    """Whether an address is one site's; None: everybody can use it, or it was chosen so."""
    parts = urlsplit(package.url)
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme not in {"http", "https"}:  # a path is another check's, but for a mirror's
        host, found = "a folder", _mirrored(package, known)
    elif package.manager == "conda":
        found = _conda(package, known)
    else:
        found = _wheel(package, host, known)
    if found is None:
        return None
    return Strange(
        host=host,
        canonical=found,
        is_private=bool(_PRIVATE_HOST.fullmatch(host.partition(":")[0])),
    )


def _conda(package: LockedPackage, known: Known) -> str | None:
    """The canonical address, empty where nobody knows it; None: it is fine as it is."""
    if (own := _mirrored(package, known)) is not None:
        return own
    channel = package.channel_url
    rest = package.url[len(channel) :]
    if channel in known.channels or channel.startswith((f"{PUBLIC}/", f"{ANACONDA}/")):
        return None
    if found := _PKGS.search(channel):
        return f"{ANACONDA}/{found['channel']}{rest}"
    named = _LAST.search(channel)
    name = named["channel"] if named else ""
    if name in known.channels or name.partition("/")[0] in _PUBLIC_CHANNELS:
        return f"{PUBLIC}/{name}{rest}"
    host = urlsplit(channel).hostname or ""
    return "" if _PRIVATE_HOST.fullmatch(host) else None


def _mirrored(package: LockedPackage, known: Known) -> str | None:
    """The channel's own address, where this site reads it from the one that is locked."""
    channel = package.channel_url
    own = known.mirrors.get(channel) if package.manager == "conda" else None
    return None if own in (None, channel) else f"{own}{package.url[len(channel) :]}"


def _wheel(package: LockedPackage, host: str, known: Known) -> str | None:
    if any(package.url.startswith(address) for address in known.chosen):
        return None
    if _PUBLIC_HOSTS.fullmatch(host.partition(":")[0]):
        return None
    path = urlsplit(package.url).path
    if found := _REGISTRY_PATH.search(path):
        return f"{_REGISTRY}{found[0]}"
    if found := _TORCH_PATH.search(path):
        return f"{_TORCH}{found[0]}"
    return ""
