"""From addresses in locks to names, and from models to addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from envforge.model.lock import LockedPackage

if TYPE_CHECKING:
    from envforge.model.models import Repo

PUBLIC: Final = "https://conda.anaconda.org"
"""Where a channel lies whose name is all that is said."""
ANACONDA: Final = "https://repo.anaconda.com"
OWN_CHANNELS: Final = frozenset({"conda-forge", "nvidia", "pytorch", "nodefaults"})
"""Those that environment.yml names because of where torch comes from; nobody asked for them."""
_HUB: Final = "https://huggingface.co"
_KINDS: Final = {"model": "", "dataset": "datasets/", "space": "spaces/"}


def channel_of(item: LockedPackage, channels: Sequence[str]) -> str:
    """A package's channel as people write it: of `channels`, a public name, else its address."""
    url = item.channel_url
    for channel in channels:
        if url == channel_address(channel, (item,)):
            return channel
    for root in (PUBLIC, ANACONDA):
        if url.startswith(f"{root}/"):
            return url.removeprefix(f"{root}/")
    return url


def channel_address(channel: str, packages: Sequence[LockedPackage]) -> str:
    """The address that a channel's name means: where packages came from, else conda's own."""
    if "://" in channel:
        return channel.rstrip("/")
    if channel.startswith("pkgs/"):
        return f"{ANACONDA}/{channel}"
    for item in packages:
        if item.manager == "conda" and urlsplit(item.channel_url).path.strip("/") == channel:
            return item.channel_url
    return f"{PUBLIC}/{channel}"


def hub_address(repo: Repo, commit: str, path: str = "") -> str:
    """Where the public hub serves a file, or shows a repository at one commit."""
    base = f"{_HUB}/{_KINDS[repo.kind]}{repo.id}"
    return f"{base}/resolve/{commit}/{quote(path)}" if path else f"{base}/tree/{commit}"
