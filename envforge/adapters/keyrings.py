"""Passwords in the system's keyring, through the `keyring` library where that is installed.

rattler and uv have ways of their own to it; this is for addresses with a user and no password,
and for servers that insist on a login nobody else knows.
"""

from __future__ import annotations

import json
import logging
from functools import cache

_LOG = logging.getLogger(__name__)
_RATTLERS = "rattler"
"""The service under which `rattler auth login` keeps what is for a host, as JSON."""


def password(host: str, user: str) -> str | None:
    """The password of a user at a host; None: the keyring has none, or there is no keyring."""
    found = _credential(host, user)
    return found[1] if found else None


def login(host: str) -> tuple[str, str] | None:
    """User and password for a host: what pip would find, or what rattler stored."""
    return _credential(host, None) or _stored_by_rattler(host)


@cache
def _credential(host: str, user: str | None) -> tuple[str, str] | None:
    """Asked once a process: some keyrings ask the person each time."""
    try:
        import keyring
    except ImportError:
        return None
    for service in (f"https://{host}", host):
        try:
            found = keyring.get_credential(service, user)
        except Exception as error:  # noqa: BLE001 - each keyring fails in ways of its own
            _LOG.debug("the keyring gives nothing: %s", type(error).__name__)
            return None
        if found is not None and found.password:
            return found.username or user or "", found.password
    return None


@cache
def _stored_by_rattler(host: str) -> tuple[str, str] | None:
    found = _credential_of(_RATTLERS, host)
    try:
        known = json.loads(found or "{}").get("BasicHTTP", {})
        return (str(known["username"]), str(known["password"])) if known else None
    except (ValueError, AttributeError, KeyError, TypeError):
        return None


def forget() -> None:
    """Ask the keyring anew next time: it was changed."""
    _credential.cache_clear()
    _stored_by_rattler.cache_clear()


def _credential_of(service: str, user: str) -> str | None:
    try:
        import keyring

        found = keyring.get_password(service, user)
    except Exception as error:  # noqa: BLE001 - as above
        _LOG.debug("the keyring gives nothing: %s", type(error).__name__)
        return None
    return None if found is None else str(found)
