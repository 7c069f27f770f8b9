"""Asks the servers that packages and models come from: whether they answer, and what time it is.

All are asked side by side, once, with a short wait; a name that does not resolve can hang longer
than any wait, so what has not answered in time counts as silent and is left behind.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.error import HTTPError

from envforge.adapters.channels import folder_of, resolve_channels
from envforge.adapters.hub import reach
from envforge.adapters.pack.download import cause_of
from envforge.adapters.pip_settings import PipSettings, redact
from envforge.adapters.web import GONE, LOGIN, Web
from envforge.around.server.server_facts import Address, Cause
from envforge.errors import EnvforgeError
from envforge.model.settings import Settings
from envforge.model.solving import without_credentials
from envforge.solve.wheel_index import PYTORCH_WHEELS, SITE, torch_index_url

WAIT: Final = 8.0
"""Seconds for one answer."""
_CHANNELS: Final = (("conda-forge", False), ("pytorch", True), ("nvidia", True))
"""The sources' own; the last two are for torch up to 2.5 only."""
_NO_HEAD: Final = frozenset({400, 405, 501})
_BUSY: Final = 429
_CLOSED: Final[Mapping[int, tuple[Cause, str]]] = {
    401: ("login", "it asks for a login"),
    403: ("forbidden", "it, or something on the way, forbids it"),
    407: ("proxy", "a proxy asks for a login"),
}
_VALIDITY: Final = frozenset({9, 10})
"""X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED, openssl-verification-options(1)."""


@dataclass(frozen=True)
class _Question:
    """What is asked, and what it is shown as."""

    shown: Address
    asked: str
    """With credentials, if need be."""
    otherwise: str = ""
    """What may be there instead."""


class Asking:
    """Questions that are on their way."""

    def __init__(self, settings: Settings, pip: PipSettings, *, offline: str = "") -> None:
        """`offline` says why nothing is to be asked of a network; empty: it may be."""
        self._web = Web(settings, pip)
        self._offline = offline
        self._limit = time.monotonic() + WAIT + 2
        self._questions = tuple(_questions(settings, pip))
        self._answers: dict[int, Address] = {}
        self._threads = [
            threading.Thread(target=self._ask, args=(place, item), daemon=True)
            for place, item in enumerate(self._questions)
        ]
        for thread in self._threads:
            thread.start()

    def answers(self) -> tuple[Address, ...]:
        """One for each question, after ten seconds at most."""
        for thread in self._threads:
            thread.join(max(0.0, self._limit - time.monotonic()))
        return tuple(
            self._answers.get(place)
            or replace(item.shown, state="silent", reason=f"no answer within {WAIT:g} s")
            for place, item in enumerate(self._questions)
        )

    def _ask(self, place: int, question: _Question) -> None:
        folder = folder_of(question.asked)
        if question.shown.state != "answers":
            self._answers[place] = question.shown
        elif folder is not None:
            there = folder.exists()
            reason = "" if there else "there is no such folder"
            state = replace(question.shown, state="answers" if there else "missing", reason=reason)
            self._answers[place] = state
        elif self._offline:
            self._answers[place] = replace(
                question.shown, state="offline", reason=_offline(self._offline)
            )
        else:
            self._answers[place] = self._asked(question)

    def _asked(self, question: _Question) -> Address:
        began = time.monotonic()
        try:
            headers = self._either(question)
        except HTTPError as error:
            return _refused(question.shown, error, began)
        except (EnvforgeError, OSError, http.client.HTTPException, ValueError) as error:
            return _silent(question.shown, error)
        return replace(
            question.shown,
            milliseconds=(time.monotonic() - began) * 1000,
            clock_ahead=_ahead(headers.get("Date", "")),
        )

    def _either(self, question: _Question) -> http.client.HTTPMessage:
        try:
            return self._headers(question.asked)
        except HTTPError as error:
            if error.code not in GONE or not question.otherwise:
                raise
        return self._headers(question.otherwise)

    def _headers(self, address: str) -> http.client.HTTPMessage:
        try:
            with self._web.open(address, method="HEAD", timeout=WAIT) as answer:
                return answer.headers
        except HTTPError as error:
            if error.code not in _NO_HEAD:
                raise
        with self._web.open(address, timeout=WAIT) as answer:
            return answer.headers


def _refused(shown: Address, error: HTTPError, began: float) -> Address:
    """What a status of 400 and more means; a server that answered so has told the time."""
    ahead = _ahead(error.headers.get("Date", "") if error.headers else "")
    told = replace(shown, clock_ahead=ahead)
    if error.code in LOGIN:
        cause, words = _CLOSED[error.code]
        return replace(told, state="refuses", reason=f"{words} ({error.code})", cause=cause)
    if error.code == _BUSY:
        words = f"too many requests from here ({error.code})"
        return replace(told, state="fails", reason=words, cause="busy")
    if error.code in GONE and shown.kind == "hub":
        return replace(told, milliseconds=(time.monotonic() - began) * 1000)
    if error.code in GONE:
        return replace(told, state="missing", reason=f"not found ({error.code})")
    return replace(told, state="fails", reason=f"the server has an error ({error.code})")


def _silent(shown: Address, error: Exception) -> Address:
    """Why nothing came; a certificate that is not trusted has remedies of its own."""
    inner = getattr(error, "reason", None)
    told = inner if isinstance(inner, Exception) else error
    if isinstance(told, ssl.SSLCertVerificationError):
        cause: Cause = "validity" if told.verify_code in _VALIDITY else "certificate"
        reason = told.verify_message
        return replace(shown, state="refuses", reason=reason, cause=cause)
    reason = str(error) if isinstance(error, EnvforgeError) else cause_of(error)
    return replace(shown, state="silent", reason=reason)


def _offline(why: str) -> str:
    return "it was not to be asked" if why == "--no-network" else f"we are offline (`{why}`)"


def _ahead(date: str) -> float | None:
    """Seconds that a server's clock is ahead; it tells whole ones, cut off."""
    try:
        told = parsedate_to_datetime(date).timestamp() + 0.5
    except (ValueError, TypeError):
        return None
    return told - time.time()


# --- who is asked ---------------------------------------------------------------------------


def _questions(settings: Settings, pip: PipSettings) -> Iterator[_Question]:
    known = [name for name, _ in _CHANNELS]
    own = [name for name in settings.conda.channels if name not in {*known, "nodefaults"}]
    for name, optional in (*_CHANNELS, *((name, False) for name in own)):
        yield from _of_channel(name, settings, optional=optional)
    yield from _of_indexes(settings, pip)
    yield _of_hub(settings)


def _of_channel(name: str, settings: Settings, *, optional: bool) -> Iterator[_Question]:
    shown = Address(name=redact(name), kind="channel", url=redact(name), optional=optional)
    try:
        channels = resolve_channels((name,), settings)
    except EnvforgeError as error:
        yield _Question(replace(shown, state="missing", reason=str(error)), "")
        return
    for channel in channels:
        read = (channel.mirror or channel.url).rstrip("/")
        index = f"{read}/noarch/repodata.json"  # every channel has that subdir: CEP 26
        yield _Question(replace(shown, url=without_credentials(read)), index, f"{index}.zst")


def _of_indexes(settings: Settings, pip: PipSettings) -> Iterator[_Question]:
    for place, address in enumerate(pip.sources):
        asked = _with_login(pip, place, address)
        yield _Question(
            Address(name=f"{place + 1} of pip's", kind="wheel index", url=address), asked
        )
    named = settings.wheel_index
    if named in {"auto", SITE}:
        if named == "auto":
            yield _pytorch(f"{PYTORCH_WHEELS}/cpu", optional=True)
        return
    given = torch_index_url(named, "cpu")
    if given is not None:
        yield _pytorch(given, optional=False)


def _pytorch(address: str, *, optional: bool) -> _Question:
    shown = Address(name="of torch", kind="wheel index", url=redact(address), optional=optional)
    return _Question(shown, f"{address}/")


def _with_login(pip: PipSettings, place: int, shown: str) -> str:
    """The address as it is configured; `shown` is the public registry where it is none."""
    indexes = () if pip.no_index else (pip.index_url or shown, *pip.extra_index_urls)
    found = (*indexes, *pip.find_links)[place]
    return found if "://" not in found else f"{found.rstrip('/')}/"


def _of_hub(settings: Settings) -> _Question:
    try:
        address = reach.endpoint(settings)
        reason = reach.why_offline(settings)
    except EnvforgeError as error:
        shown = Address(name="hub", kind="hub", url="", state="missing", reason=str(error))
        return _Question(shown, "")
    shown = Address(name="hub", kind="hub", url=reach.shown(settings))
    if reason:
        shown = replace(shown, state="offline", reason=_offline(reason))
    return _Question(shown, f"{address}/")
