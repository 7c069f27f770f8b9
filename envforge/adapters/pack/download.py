"""Archives come whole and proven into a folder, by plain HTTP that goes on where it broke off.

rattler and uv fetch archives only to unpack them at once, keep none, and begin anew where a line
breaks. A pack needs the archives themselves, and an install over a bad line needs this patience.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import threading
import time
import urllib.error
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from envforge.adapters.files import unusable
from envforge.adapters.pack.writing import digest_of
from envforge.adapters.pip_settings import PipSettings, redact
from envforge.adapters.web import AGAIN, GONE, LOGIN, SCHEMES, Web
from envforge.errors import CorruptArchive, Unreachable
from envforge.model.settings import Settings
from envforge.model.solving import without_credentials

_LOG = logging.getLogger(__name__)
_CHUNK: Final = 1 << 18
_TRIES: Final = 5
"""In a row, without a byte."""
_LONGEST_PAUSE: Final = 30.0
_LONGEST_ASKED: Final = 600.0
"""Seconds that we wait because a server says so; then we end, and can be called again."""
_NOT_SATISFIABLE: Final = 416
_PARTIAL: Final = 206


class Stopped(Exception):
    """We were asked to end."""


@dataclass(frozen=True)
class Downloads:
    """Fetches single files; used by several threads at once."""

    settings: Settings
    pip: PipSettings
    pause: Callable[[float], None] | None = None
    """Waits so many seconds; None: until `stop` at most."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Once it is set, everybody ends at the next piece; what has come is kept."""
    come: Callable[[str, int], None] = lambda *_: None
    """Told of every piece: the hash it is for, and the bytes."""

    def fetch(self, address: str, sha256: str, folder: Path) -> Path:
        """The file in the folder that has this hash; what an earlier call left is gone on with.

        Raises:
            CorruptArchive: other bytes come.
            Unreachable: it cannot be had, or nothing comes again and again.
            FileNotUsable: the disk refuses.
            Stopped: see `stop`.
        """
        whole, part = folder / sha256, folder / f"{sha256}.part"
        if whole.exists():
            return whole
        pieces = _size(part) > 0
        pieces |= self._complete(address, part)
        found = digest_of(part)
        if found != sha256 and pieces:  # what was left, or the seam, may be what is wrong
            part.unlink()
            self._complete(address, part)
            found = digest_of(part)
        if found != sha256:
            part.unlink()
            url = redact(without_credentials(address))
            raise CorruptArchive(url=url, expected=f"sha256 {sha256}", found=f"sha256 {found}")
        return part.replace(whole)

    def fetch_from(self, addresses: Sequence[str], sha256: str, folder: Path) -> Path:
        """The same from the first of several places that has it.

        Raises:
            CorruptArchive, Unreachable: what the first of them said, since none has it.
        """
        failures: list[CorruptArchive | Unreachable] = []
        for address in addresses:
            try:
                return self.fetch(address, sha256, folder)
            except (CorruptArchive, Unreachable) as error:  # noqa: PERF203 - each is a download
                failures.append(error)
        raise failures[0]

    def _complete(self, address: str, part: Path) -> bool:
        """Ask until all has come; whether it came in several pieces."""
        tries, pieces = 0, False
        while True:
            if self.stop.is_set():
                raise Stopped
            before = _size(part)
            try:
                self._once(address, part)
            except (OSError, http.client.HTTPException) as error:
                pieces = True
                tries = 0 if _size(part) > before else tries + 1
                asked = retry_after(error)
                if not _is_worth_trying(error) or tries >= _TRIES or asked > _LONGEST_ASKED:
                    raise self._explain(address, error) from error
                _LOG.debug("again in a moment: %s", redact(str(error)))
                self._pause(asked or (min(2.0 ** (tries - 1), _LONGEST_PAUSE) if tries else 0.0))
            else:
                return pieces

    def _once(self, address: str, part: Path) -> None:
        if urlsplit(address).scheme not in SCHEMES:  # s3, oci: rattler knows more ways
            if not self._by_rattler(address, part):
                raise OSError("no way to read such an address")
            return
        start = _size(part)
        try:
            answer = self._web.open(address, start=start)
        except urllib.error.HTTPError as error:
            if error.code in LOGIN and self._by_rattler(address, part):
                return
            if error.code == _NOT_SATISFIABLE and start:
                part.unlink()
            raise
        with answer:
            self._append(answer, part, goes_on=answer.status == _PARTIAL)

    def _by_rattler(self, address: str, part: Path) -> bool:
        """Whether rattler, which knows the system's keyring, is let in where we are not."""
        import asyncio

        from rattler.package_streaming import download_to_path

        from envforge.adapters.rattler_client import make_client

        async def fetch() -> None:
            await download_to_path(make_client(self.settings), address, part)

        try:
            asyncio.run(fetch())
        except (OSError, RuntimeError):  # its words hold the address, and that a token perhaps
            _LOG.debug("rattler is not let in either")
            part.unlink(missing_ok=True)
            return False
        return True

    def _append(self, answer: http.client.HTTPResponse, part: Path, *, goes_on: bool) -> None:
        """Write what comes behind what is there; without `goes_on` all of it comes anew."""
        expected = answer.headers.get("Content-Length")
        come = 0
        with _opened(part, "ab" if goes_on else "wb") as stream:
            while chunk := answer.read1(_CHUNK):
                come += len(chunk)
                try:
                    stream.write(chunk)
                    stream.flush()
                except OSError as error:
                    raise unusable(part, error) from error
                self.come(part.stem, len(chunk))
                if self.stop.is_set():
                    raise Stopped
        if expected is not None and come != int(expected):
            raise http.client.IncompleteRead(b"", int(expected) - come)

    @cached_property
    def _web(self) -> Web:
        return Web(self.settings, self.pip)

    def _pause(self, seconds: float) -> None:
        if self.pause is not None:
            self.pause(seconds)
        else:
            self.stop.wait(seconds)

    def _explain(self, address: str, error: Exception) -> Unreachable:
        url = redact(without_credentials(address))
        status = getattr(error, "code", None)
        if status in LOGIN:
            remedy = "put user and password into `~/.netrc` (mode 600), or use `rattler auth login`"
            return Unreachable(url=url, reason=f"it asks for a login ({status})", remedy=remedy)
        if status in GONE:
            return Unreachable(
                url=url,
                reason=f"it is not there any more ({status})",
                remedy="read it from another place with `--mirror`, or lock again",
            )
        if status is not None:
            return Unreachable(url=url, reason=f"the server failed ({status})")
        return Unreachable(
            url=url,
            reason=cause_of(error),
            remedy="run the same command again: what was fetched is kept",
        )


def cause_of(error: Exception) -> str:
    """What the network did, in few words, without addresses."""
    if isinstance(error, http.client.IncompleteRead):
        return "the download broke off"
    cause = getattr(error, "reason", None) or error
    words = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return redact(str(words)).lower()


def retry_after(error: BaseException) -> float:
    """Seconds that a busy server asks us to wait; 0: it does not say."""
    headers = getattr(error, "headers", None)
    told = headers.get("Retry-After", "") if headers is not None else ""
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(told)
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, when.timestamp() - time.time())


def _opened(part: Path, mode: str) -> IO[bytes]:
    try:
        return part.open(mode)
    except OSError as error:
        raise unusable(part, error) from error


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _is_worth_trying(error: Exception) -> bool:
    """Whether it may be better in a moment: a busy server, a cut line, a range out of bounds."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in {*AGAIN, _NOT_SATISFIABLE}
    cause = getattr(error, "reason", None)
    return not isinstance(cause, ssl.SSLCertVerificationError)
