"""Which hub is meant, and whether it may be asked."""

from __future__ import annotations

import re
from typing import Final

from envforge.cache.hub_variables import PUBLIC_HUB, is_on
from envforge.errors import InvalidValue, Unreachable
from envforge.model.settings import Settings
from envforge.model.solving import without_credentials

_ADDRESS: Final = re.compile(
    r"https?://(?:[^\s/@]*@)?(?:[\w.-]+|\[[\da-f:]+\])(?::\d+)?(?:/[^\s?#]*)?"
)


def endpoint(settings: Settings) -> str:
    """The hub's address: `HF_ENDPOINT`, or the public one.

    Raises:
        InvalidValue: it is no address.
    """
    address = (settings.environment.get("HF_ENDPOINT") or PUBLIC_HUB).rstrip("/")
    if not _ADDRESS.fullmatch(address):
        raise InvalidValue(
            what="HF_ENDPOINT",
            value=address.rpartition("@")[2],
            reason="is no address of a hub",
            remedy=f"it looks like `{PUBLIC_HUB}`; unset it to use that",
        )
    return address


def shown(settings: Settings) -> str:
    """The hub's address for messages: without user and password."""
    return without_credentials(endpoint(settings))


def why_offline(settings: Settings) -> str:
    """The setting that forbids the network; empty: none does."""
    if settings.offline:
        given = settings.environment.get("ENVFORGE_OFFLINE")
        return f"ENVFORGE_OFFLINE={given}" if given else "--offline"
    # The second is honoured by huggingface_hub as well (its constants.py).
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        value = settings.environment.get(name, "")
        if is_on(value):
            return f"{name}={value}"
    return ""


def check(settings: Settings) -> None:
    """See that the hub may be asked; no socket is opened.

    Raises:
        Unreachable: we are offline.
    """
    reason = why_offline(settings)
    if reason:
        raise Unreachable(
            url=shown(settings),
            reason=f"we are offline (`{reason}`)",
            remedy=_remedy(reason),
        )


def _remedy(reason: str) -> str:
    name, is_variable, _ = reason.partition("=")
    allow = f"`unset {name}` allows" if is_variable else f"without `{name}`, envforge asks"
    return f"{allow} the network; what is in the store needs none"
