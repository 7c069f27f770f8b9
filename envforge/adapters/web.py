"""Plain HTTP as this site has it: logins, proxies and certificates, for what no engine does for us.

Logins are looked up when an address is asked for: in the address, in what pip is configured with,
in netrc, in what `rattler auth login` stored, and, where a server insists, in the keyring of the
`keyring` library. They go to the host they are for, and reach no file and no message.
"""

from __future__ import annotations

import http.client
import json
import logging
import netrc
import ssl
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Final
from urllib.error import HTTPError
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from envforge.adapters import keyrings
from envforge.adapters.pip_settings import PipSettings
from envforge.adapters.rattler_client import bundle, condas_proxies
from envforge.errors import Unreachable
from envforge.model.settings import Settings
from envforge.version import __version__

_LOG = logging.getLogger(__name__)
SCHEMES: Final = ("http", "https")
LOGIN: Final = frozenset({401, 403, 407})
GONE: Final = frozenset({404, 410})
AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be another in a moment."""


@dataclass(frozen=True)
class Web:
    """Asks for single addresses; used by several threads at once."""

    settings: Settings
    pip: PipSettings

    def open(
        self, address: str, *, method: str = "GET", start: int = 0, timeout: float | None = None
    ) -> http.client.HTTPResponse:
        """The answer, its body still to be read.

        Args:
            address: `http` or `https`; with credentials if need be.
            method: `GET` or `HEAD`.
            start: of a body that is half there already, the bytes that are.
            timeout: seconds that may pass without a byte; None: as the settings say.

        Raises:
            urllib.error.HTTPError: the server refuses; it is closed already.
            OSError, http.client.HTTPException: there is no server, or no understanding it.
        """
        try:
            return self._send(address, method, start, timeout, insist=False)
        except HTTPError as error:
            if error.code not in LOGIN or not self._has_more(address):
                raise
        return self._send(address, method, start, timeout, insist=True)

    def _send(
        self, address: str, method: str, start: int, timeout: float | None, *, insist: bool
    ) -> http.client.HTTPResponse:
        request = self._request(address, method, start, insist=insist)
        wait = self.settings.timeout if timeout is None else timeout
        opener = self._direct if self._bypasses(urlsplit(address)) else self._opener
        try:
            answer: http.client.HTTPResponse = opener.open(request, timeout=wait)
        except HTTPError as error:
            error.close()
            raise
        return answer

    def _request(
        self, address: str, method: str, start: int, *, insist: bool
    ) -> urllib.request.Request:
        parts = urlsplit(address)
        headers = {"User-Agent": f"envforge/{__version__}", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        stored = self._stored(parts.hostname or "")
        bare = parts._replace(netloc=place_of(parts), fragment="")
        if "CondaToken" in stored and "/t/" not in parts.path:
            bare = bare._replace(path=f"/t/{stored['CondaToken']}{parts.path}")
        request = urllib.request.Request(urlunsplit(bare), headers=headers, method=method)  # noqa: S310 - the opener knows http alone
        login = self.login(address, insist=insist)
        if login:  # unredirected: another host must not be told
            request.add_unredirected_header("Authorization", login)
        return request

    # --- who we are -------------------------------------------------------------------------

    def login(self, address: str, *, insist: bool = False) -> str | None:
        """What to send as `Authorization`; None: nothing.

        Args:
            address: of what is asked for.
            insist: look into the keyring too, which may ask the person.
        """
        parts = urlsplit(address)
        if parts.username is not None:
            password = unquote(parts.password or "") or keyrings.password(
                parts.hostname or "", unquote(parts.username)
            )
            return basic(unquote(parts.username), password or "")
        for index in (self.pip.index_url, *self.pip.extra_index_urls, *self.pip.find_links):
            known = urlsplit(index or "")
            if known.username is not None and place_of(known) == parts.netloc:
                return basic(unquote(known.username), unquote(known.password or ""))
        host = parts.hostname or ""
        return (
            self._from_netrc(host) or _from_store(self._stored(host)) or self._asked(host, insist)
        )

    def _asked(self, host: str, insist: bool) -> str | None:
        found = keyrings.login(host) if insist else None
        return basic(*found) if found else None

    def _has_more(self, address: str) -> bool:
        return self.login(address) is None and self.login(address, insist=True) is not None

    def _from_netrc(self, host: str) -> str | None:
        found = self._netrc.authenticators(host) if self._netrc else None
        return basic(found[0] or found[1] or "", found[2] or "") if found else None

    @cached_property
    def _netrc(self) -> netrc.netrc | None:
        named = self.settings.environment.get("NETRC")
        path = Path(named) if named else self.settings.home / ".netrc"
        with suppress(OSError, netrc.NetrcParseError, UnicodeDecodeError):
            return netrc.netrc(path)
        return None

    def _stored(self, host: str) -> Mapping[str, Any]:
        """What rattler has for a host: by its name, or by `*.` and the end of it."""
        ends = [host, *(f"*.{end}" for end in _ends(host))]
        found: Any = next((self._store[name] for name in ends if name in self._store), {})
        return found if isinstance(found, dict) else {}

    @cached_property
    def _store(self) -> Mapping[str, Any]:
        """The file in which rattler keeps logins where there is no keyring."""
        named = self.settings.environment.get("RATTLER_AUTH_FILE")
        path = Path(named) if named else self.settings.home / ".rattler" / "credentials.json"
        with suppress(OSError, ValueError):
            found = json.loads(path.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        return {}

    # --- how the network is reached ---------------------------------------------------------

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        return self._made(self._proxies())

    @cached_property
    def _direct(self) -> urllib.request.OpenerDirector:
        return self._made({})

    def _made(self, proxies: Mapping[str, str]) -> urllib.request.OpenerDirector:
        return urllib.request.build_opener(
            urllib.request.ProxyHandler(dict(proxies)),
            urllib.request.HTTPSHandler(context=self._certificates()),
            _Redirects(self),
        )

    def _bypasses(self, parts: SplitResult) -> bool:
        given = self.settings.environment
        left_out = given.get("no_proxy") or given.get("NO_PROXY") or ""
        host = place_of(parts)
        return bool(urllib.request.proxy_bypass_environment(host, {"no": left_out}))  # type: ignore[attr-defined]

    def _proxies(self) -> dict[str, str]:
        """conda's, pip's, then those of the environment (as read into the settings)."""
        if self.settings.conda.proxy_servers:
            return condas_proxies(self.settings)
        if self.pip.proxy:
            return dict.fromkeys(SCHEMES, self.pip.proxy)
        given = self.settings.environment
        names = {
            scheme: (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
            for scheme in SCHEMES
        }
        found = {
            scheme: next((given[name] for name in known if given.get(name)), "")
            for scheme, known in names.items()
        }
        return {scheme: address for scheme, address in found.items() if address}

    def _certificates(self) -> ssl.SSLContext:
        named = bundle(self.settings) or self.pip.cert
        try:
            context = ssl.create_default_context(cafile=named)
        except OSError as error:
            raise Unreachable(
                url=str(named),
                reason="it holds no certificates that can be read",
                remedy="check `ssl_verify` in `.condarc`, and `SSL_CERT_FILE`",
            ) from error
        if self.settings.conda.ssl_verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps the method, and tells the place we are sent to only what is for it."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def redirect_request(  # noqa: PLR0917 - the base class's
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """See the base class."""
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is None:
            return None
        made.method = req.get_method()
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        same = (old.scheme, old.netloc) == (new.scheme, new.netloc)
        login = (
            req.unredirected_hdrs.get("Authorization") if same else self._web.login(made.full_url)
        )
        if login:
            made.add_unredirected_header("Authorization", login)
        return made


def place_of(parts: SplitResult) -> str:
    """Host and port, without a user."""
    return parts.netloc.rpartition("@")[2]


def basic(user: str, password: str) -> str:
    """A name and a password as `Authorization`."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def _from_store(stored: Mapping[str, Any]) -> str | None:
    if "BearerToken" in stored:
        return f"Bearer {stored['BearerToken']}"
    known = stored.get("BasicHTTP")
    if isinstance(known, dict):
        return basic(str(known.get("username", "")), str(known.get("password", "")))
    return None


def _ends(host: str) -> list[str]:
    parts = host.split(".")
    return [".".join(parts[first:]) for first in range(len(parts) - 1)]
