"""The HTTP client that rattler uses, set up as conda's settings say."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from envforge.model.settings import Settings

if TYPE_CHECKING:
    from rattler.networking import Client

_RETRIES = 2


def make_client(settings: Settings) -> Client:
    """Netrc, keyring, proxies and certificates as conda would have them."""
    from rattler.config import Config
    from rattler.networking import Client

    from envforge.version import __version__

    with _certificates(_bundle(settings)):
        return Client.from_config(
            Config.from_toml(_toml(settings)),
            max_retries=_RETRIES,
            user_agent=f"envforge/{__version__}",
            timeout=max(1, round(settings.timeout)),
        )


def _toml(settings: Settings) -> str:
    lines = ["tls-no-verify = true"] if settings.conda.ssl_verify is False else []
    proxies = {
        key: settings.conda.proxy_servers[key]
        for key in ("http", "https")
        if settings.conda.proxy_servers.get(key)
    }
    if proxies:
        lines += ["[proxy-config]", *(f"{key} = {json.dumps(url)}" for key, url in proxies.items())]
    return "\n".join(lines)


def _bundle(settings: Settings) -> str | None:
    """The certificates to trust instead of the system's."""
    verify = settings.conda.ssl_verify
    if isinstance(verify, str) and verify != "truststore":
        return verify
    environment: Mapping[str, str] = settings.environment
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return next((environment[name] for name in names if environment.get(name)), None)


@contextmanager
def _certificates(bundle: str | None) -> Iterator[None]:
    """For want of an option: rattler reads this variable while a client is made."""
    before = os.environ.get("SSL_CERT_FILE")
    if bundle is None or bundle == before:
        yield
        return
    os.environ["SSL_CERT_FILE"] = bundle
    try:
        yield
    finally:
        if before is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = before
