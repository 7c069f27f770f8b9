"""The HTTP client that rattler uses, set up as conda's settings say.

rattler is only told addresses that may be written down, since it keeps them: in its cache of
repodata (`*.shards-cache-v1` holds the channel's address), in conda-meta and in messages. Where a
channel is read with a token or a password, the client puts them in on the way out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from envforge.errors import InvalidValue
from envforge.model.settings import Settings
from envforge.model.solving import without_credentials
from envforge.version import __version__

if TYPE_CHECKING:
    from rattler.networking import Client

_RETRIES = 2
_SCHEMES: Final = ("http", "https")


def make_client(
    settings: Settings,
    routes: Mapping[str, tuple[str, ...]] | None = None,
    *,
    timeout: float | None = None,
) -> Client:
    """Netrc, keyring, proxies and certificates as conda would have them.

    Args:
        settings: conda's among them.
        routes: of `channels.routes`: addresses that are read with credentials, or at mirrors.
        timeout: seconds that one answer may take, its body included; None: as the settings say.

    Raises:
        InvalidValue: credentials in addresses, and certificates that are not to be checked.
    """
    wait = max(1, round(settings.timeout if timeout is None else timeout))
    if routes:
        return _routing_client(settings, routes, wait)
    from rattler.config import Config
    from rattler.networking import Client

    with with_variables(_certificates(settings)):
        return Client.from_config(
            Config.from_toml(_toml(settings)),
            max_retries=_RETRIES,
            user_agent=_agent(),
            timeout=wait,
        )


def _routing_client(settings: Settings, routes: Mapping[str, tuple[str, ...]], wait: int) -> Client:
    """Put together by hand: rattler's own way authenticates before it knows the mirror."""
    from rattler import networking

    if settings.conda.ssl_verify is False:
        raise InvalidValue(
            what="setting `ssl_verify`",
            value="false",
            reason="would hand the credentials of"
            f" {', '.join(sorted(map(without_credentials, routes)))} to anybody who answers",
            remedy="name your site's certificate bundle in `ssl_verify`, or put user and password"
            " into `~/.netrc`",
        )
    mirrors = {
        bare: [_without_user(address) for address in addresses]
        for bare, addresses in routes.items()
        if [bare] != [_without_user(address) for address in addresses]
    }
    with with_variables(surroundings(settings)):
        return networking.Client(
            [
                networking.RetryMiddleware(_RETRIES),
                *([networking.MirrorMiddleware(mirrors)] if mirrors else []),
                networking.AddHeadersMiddleware(_logins(settings, routes)),
                networking.AuthenticationMiddleware(),
                networking.OciMiddleware(),
                networking.GCSMiddleware(),
                networking.S3Middleware(),
            ],
            user_agent=_agent(),
            timeout=wait,
        )


def _agent() -> str:
    return f"envforge/{__version__}"


def _logins(
    settings: Settings, routes: Mapping[str, tuple[str, ...]]
) -> Callable[[str, str], dict[str, str] | None]:
    """What says `Authorization` for a host and a path: users in addresses."""
    from envforge.adapters.pip_settings import PipSettings
    from envforge.adapters.web import Web

    web = Web(settings, PipSettings())
    known: list[tuple[str, str, str]] = []
    for address in (item for several in routes.values() for item in several):
        parts = urlsplit(address)
        login = web.login(address) if parts.username is not None else None
        if login:
            known.append((parts.hostname or "", f"{unquote(parts.path).rstrip('/')}/", login))
    known.sort(key=lambda item: -len(item[1]))

    def headers(host: str, path: str) -> dict[str, str] | None:
        for at, below, login in known:
            if host == at and unquote(path).startswith(below):
                return {"Authorization": login}
        return None

    return headers


def _without_user(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")


def _toml(settings: Settings) -> str:
    lines = ["tls-no-verify = true"] if settings.conda.ssl_verify is False else []
    proxies = condas_proxies(settings)
    if proxies:
        lines += ["[proxy-config]", *(f"{key} = {json.dumps(url)}" for key, url in proxies.items())]
    if proxies and _not_proxied(settings):
        lines += [f"non-proxy-hosts = {json.dumps(_not_proxied(settings))}"]
    return "\n".join(lines)


def condas_proxies(settings: Settings) -> dict[str, str]:
    """`proxy_servers` by scheme; those for single hosts, which rattler does not know, are not."""
    servers = settings.conda.proxy_servers
    found = {key: servers.get(key) or servers.get("all", "") for key in _SCHEMES}
    return {key: url for key, url in found.items() if url}


def _not_proxied(settings: Settings) -> list[str]:
    given = settings.environment
    left_out = given.get("no_proxy") or given.get("NO_PROXY") or ""
    return [item.strip() for item in left_out.split(",") if item.strip()]


def _proxies(settings: Settings) -> dict[str, str]:
    """conda's, as variables in both spellings: the lower one would win."""
    spelt = {f"{key}_proxy": url for key, url in condas_proxies(settings).items()}
    return {**spelt, **{key.upper(): url for key, url in spelt.items()}}


def bundle(settings: Settings) -> str | None:
    """The certificates to trust instead of the system's."""
    verify = settings.conda.ssl_verify
    if isinstance(verify, str) and verify != "truststore":
        return verify
    environment: Mapping[str, str] = settings.environment
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return next((environment[name] for name in names if environment.get(name)), None)


def surroundings(settings: Settings) -> dict[str, str]:
    """Certificates and proxies of the settings, as variables that HTTP clients read."""
    return {**_certificates(settings), **_proxies(settings)}


def _certificates(settings: Settings) -> dict[str, str]:
    named = bundle(settings)
    return {"SSL_CERT_FILE": named} if named else {}


@contextmanager
def with_variables(given: Mapping[str, Any]) -> Iterator[None]:
    """For want of options: rattler reads these variables while a client is made."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
