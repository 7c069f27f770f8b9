"""Asks for every archive of a lock, without fetching it, and looks for those that are gone.

Credentials are looked up at this moment and kept nowhere. What is asked is where an install would
read: a mirror where one is set up, else the locked address.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from urllib.error import HTTPError
from urllib.parse import unquote, urljoin, urlsplit

from envforge.adapters import package_cache
from envforge.adapters.channels import folder_of, resolve_channels
from envforge.adapters.pack.download import cause_of, retry_after
from envforge.adapters.pack.writing import digest_of
from envforge.adapters.pip_settings import PipSettings, redact
from envforge.adapters.pip_settings import without_credentials as without_user
from envforge.adapters.rattler_installer import read_addresses
from envforge.adapters.web import AGAIN, GONE, LOGIN, SCHEMES, Web
from envforge.adapters.wheelhouse import Wheelhouse
from envforge.errors import EnvforgeError
from envforge.model.availability import Archive, ArchiveState, Availability, OtherPlace
from envforge.model.lock import LockedPackage
from envforge.model.machine import Platform
from envforge.model.settings import Settings
from envforge.model.solving import Channel, CondaProblem, without_credentials

if TYPE_CHECKING:
    from envforge.adapters.rattler_solver import RattlerSolver

_AT_ONCE: Final = 16
_TRIES: Final = 3
_LONGEST_PAUSE: Final = 60.0
_DEAD: Final = 3
"""Failures in a row after which a server counts as down, and is asked no more."""
_NO_HEAD: Final = frozenset({400, 403, 405, 501})
"""What servers say that do not know HEAD, or sign addresses for GET alone."""
_INDEX: Final = "https://pypi.org/simple"
_LARGEST_PAGE: Final = 64 << 20
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class _Answer:
    """What a server said of one address."""

    state: ArchiveState
    reason: str = ""


@dataclass
class AvailabilityProbe:
    """Asks; used once."""

    settings: Settings
    pip: PipSettings
    wheelhouse: Wheelhouse
    solver: RattlerSolver
    pause: Callable[[float], None] = time.sleep
    progress: Callable[[int, int | None, str, str], None] = lambda *_: None
    _failures: Counter[str] = field(default_factory=Counter)
    _reasons: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, packages: Sequence[LockedPackage], channels: Sequence[str]) -> Availability:
        """Ask for each archive once, whatever number of platforms has it.

        Args:
            packages: of all platforms.
            channels: where else a package may be looked for, as environment.yml names them.
        """
        by_url: dict[str, list[LockedPackage]] = {}
        for item in packages:
            by_url.setdefault(item.url, []).append(item)
        asked = self._ask_all([several[0] for several in by_url.values()])
        lost = [item for item, _, answer in asked if answer.state in {"gone", "changed"}]
        found = self._elsewhere(lost, channels)
        archives = [
            _archive(by_url[item.url], address, answer, found.get(item.url, ()))
            for item, address, answer in asked
            if answer.state != "there"
        ]
        archives.sort(key=lambda item: (item.name, item.version, item.url))
        return Availability(
            asked=len(by_url),
            missing=tuple(item for item in archives if item.state != "unknown"),
            unknown=tuple(item for item in archives if item.state == "unknown"),
        )

    def _ask_all(
        self, packages: Sequence[LockedPackage]
    ) -> list[tuple[LockedPackage, str, _Answer]]:
        answers = []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            coming = [(item, pool.submit(self._ask_for, item)) for item in packages]
            for number, (item, future) in enumerate(coming, start=1):
                answers.append((item, *future.result()))
                self.progress(number, len(coming), "archives", item.name)
        return answers

    def _ask_for(self, package: LockedPackage) -> tuple[str, _Answer]:
        try:
            places = self._places(package)
        except EnvforgeError as error:
            return package.url, _Answer("unknown", str(error))
        address, answer = places[0], _Answer("unknown")
        for place in places:  # the first that has it; else what the first one said
            said = self._at(place, package.size)
            if said.state == "there":
                return place, said
            answer = said if place is address else answer
        return address, answer

    def _places(self, package: LockedPackage) -> tuple[str, ...]:
        if package.manager == "pip":
            kept = self.wheelhouse.find(package)
            return (kept.as_uri() if kept else package.url,)
        return read_addresses(package, self.settings)

    # --- one address ------------------------------------------------------------------------

    def _at(self, address: str, size: int | None) -> _Answer:
        folder = folder_of(address)
        if folder is not None:
            return _file_at(folder, size)
        parts = urlsplit(address)
        if parts.scheme not in SCHEMES:
            return _Answer("unknown", f"`{parts.scheme}:` addresses cannot be asked")
        host = f"{parts.hostname}:{parts.port or _DEFAULT_PORTS[parts.scheme]}"
        if self._failures[host] >= _DEAD:
            return _Answer("unknown", self._reasons[host])
        return self._patiently(address, size, host)

    def _patiently(self, address: str, size: int | None, host: str) -> _Answer:
        answer = _Answer("unknown")
        for attempt in range(_TRIES):
            try:
                answer = self._head(address, size)
            except HTTPError as error:  # noqa: PERF203 - three tries, each a request
                asked = retry_after(error)
                answer = _Answer("unknown", f"the server failed ({error.code})")
                if error.code not in AGAIN or asked > _LONGEST_PAUSE:
                    break
                self.pause(asked or 2.0**attempt)
            except (EnvforgeError, OSError, http.client.HTTPException) as error:
                answer = _Answer("unknown", _told(error))
                with self._lock:
                    self._failures[host] += 1
                    self._reasons[host] = answer.reason
                break
            else:
                with self._lock:
                    self._failures[host] = 0
                break
        return answer

    def _head(self, address: str, size: int | None) -> _Answer:
        try:
            return self._asked(address, size, "HEAD")
        except HTTPError as error:
            if error.code in GONE:
                return _Answer("gone", f"it is not there any more ({error.code})")
            if error.code not in _NO_HEAD | LOGIN:
                raise
        try:
            return self._asked(address, size, "GET")
        except HTTPError as error:
            if error.code in GONE:
                return _Answer("gone", f"it is not there any more ({error.code})")
            if error.code in LOGIN:
                return _Answer("unknown", f"it asks for a login ({error.code})")
            raise

    def _asked(self, address: str, size: int | None, method: str) -> _Answer:
        with self._web.open(address, method=method) as answer:
            told = answer.headers.get("Content-Length", "")
        if size is not None and told.isdigit() and int(told) != size:
            return _Answer("changed", f"it has {told} bytes there, and {size} are locked")
        return _Answer("there")

    @cached_property
    def _web(self) -> Web:
        return Web(self.settings, self.pip)

    # --- where else it is -------------------------------------------------------------------

    def _elsewhere(
        self, lost: Sequence[LockedPackage], channels: Sequence[str]
    ) -> dict[str, tuple[OtherPlace, ...]]:
        conda = [item for item in lost if item.manager == "conda"]
        wheels = [item for item in lost if item.manager == "pip"]
        found: dict[str, list[OtherPlace]] = {item.url: [] for item in lost}
        for item in conda:
            found[item.url] += [*self._cached(item), *self._at_other_addresses(item)]
        for url, place in self._in_channels(conda, channels):
            if place.where not in {known.where for known in found[url]}:
                found[url].append(place)
        for item in wheels:
            found[item.url] += [*self._in_folders(item), *self._in_indexes(item)]
        return {url: tuple(places) for url, places in found.items()}

    def _cached(self, package: LockedPackage) -> Iterator[OtherPlace]:
        if package_cache.is_cached(self.settings.package_cache, package):
            where = self.settings.package_cache / package_cache.stem(package)
            yield OtherPlace(kind="package-cache", where=str(where), is_proven=True)

    def _at_other_addresses(self, package: LockedPackage) -> Iterator[OtherPlace]:
        """Where it is locked, if that is not where it was asked for."""
        [asked, *_] = self._places(package)
        if without_credentials(asked) != package.url and (
            self._at(package.url, package.size).state == "there"
        ):
            yield OtherPlace(kind="address", where=package.url, is_proven=False)

    def _in_channels(
        self, packages: Sequence[LockedPackage], names: Sequence[str]
    ) -> Iterator[tuple[str, OtherPlace]]:
        """By what the channels' own metadata says of hashes; conda-forge moves what is broken."""
        if not packages:
            return
        listed = (*names, *self.settings.conda.channels)
        for channel in self._channels([*listed, *_broken_of(packages)]):
            for platform in sorted({item.platform for item in packages}):
                here = [item for item in packages if item.platform == platform]
                yield from self._in_channel(channel, cast("Platform", platform), here)

    def _channels(self, names: Iterable[str]) -> Iterator[Channel]:
        seen: set[str] = set()
        for name in dict.fromkeys(names):
            try:
                several = resolve_channels((name,), self.settings)
            except EnvforgeError:  # a variable that is not set, a mirror that has it not
                continue
            yield from (item for item in several if item.url not in seen)
            seen.update(item.url for item in several)

    def _in_channel(
        self, channel: Channel, platform: Platform, packages: Sequence[LockedPackage]
    ) -> Iterator[tuple[str, OtherPlace]]:
        problem = CondaProblem(platform=platform, channels=(channel,), dependencies=())
        try:
            same = self.solver.same_bytes(problem, packages)
        except EnvforgeError:  # one channel that is down hides no other
            return
        for package, url in same:
            if url != package.url and self._at(self._read(url), package.size).state == "there":
                yield package.url, OtherPlace(kind="channel", where=url, is_proven=True)

    def _read(self, url: str) -> str:
        [channel] = resolve_channels((url.rsplit("/", 2)[0],), self.settings)
        base = channel.mirror or channel.url
        return f"{base.rstrip('/')}/{'/'.join(url.rsplit('/', 2)[1:])}"

    def _in_folders(self, wheel: LockedPackage) -> Iterator[OtherPlace]:
        kept = self.wheelhouse.find(wheel)
        if kept is not None:
            yield OtherPlace(kind="wheels", where=str(kept), is_proven=True)
        for location in self.pip.find_links:
            folder = folder_of(location)
            path = folder / wheel.filename if folder else None
            if path is not None and path.is_file() and digest_of(path) == wheel.sha256:
                yield OtherPlace(kind="folder", where=str(path), is_proven=True)

    def _in_indexes(self, wheel: LockedPackage) -> Iterator[OtherPlace]:
        indexes = () if self.pip.no_index else (self.pip.index_url or _INDEX,)
        for index in (*indexes, *self.pip.extra_index_urls):
            page = f"{index.rstrip('/')}/{wheel.name}/"
            url = self._listed(page, wheel)
            if url is not None and self._at(url, wheel.size).state == "there":
                where = without_user(redact(url)).partition("#")[0]
                if where != wheel.url:
                    yield OtherPlace(kind="index", where=where, is_proven=True)

    def _listed(self, page: str, wheel: LockedPackage) -> str | None:
        """The address that an index's page (PEP 503) has for this hash."""
        try:
            with self._web.open(page) as answer:
                text = answer.read(_LARGEST_PAGE).decode("utf-8", "replace")
        except (EnvforgeError, OSError, ValueError, http.client.HTTPException):
            return None
        pattern = rf"""href\s*=\s*["']([^"']*#sha256={re.escape(wheel.sha256)})["']"""
        found = re.search(pattern, text, re.IGNORECASE)
        if found is None:
            return None
        parts = urlsplit(page)
        return urljoin(parts.geturl(), unescape(found[1])).partition("#")[0]


def _broken_of(packages: Iterable[LockedPackage]) -> Iterator[str]:
    """conda-forge's way to withdraw: another label of the same channel."""
    yield from dict.fromkeys(f"{item.channel_url}/label/broken" for item in packages)


def _file_at(path: Path, size: int | None) -> _Answer:
    try:
        there = path.stat().st_size
    except FileNotFoundError:
        return _Answer("gone", "there is no such file")
    except OSError as error:
        return _Answer("unknown", (error.strerror or str(error)).lower())
    if size is not None and there != size:
        return _Answer("changed", f"it has {there} bytes there, and {size} are locked")
    return _Answer("there")


def _archive(
    packages: Sequence[LockedPackage],
    address: str,
    answer: _Answer,
    elsewhere: tuple[OtherPlace, ...],
) -> Archive:
    first = packages[0]
    bare = without_user(address) if first.manager == "pip" else without_credentials(address)
    return Archive(
        name=first.name,
        version=first.version,
        url=without_user(first.url) if first.manager == "pip" else without_credentials(first.url),
        asked=unquote(bare) if folder_of(address) else bare,
        platforms=tuple(sorted({item.platform for item in packages})),
        state=answer.state,
        reason=answer.reason,
        elsewhere=elsewhere,
    )


def _told(error: Exception) -> str:
    """A failure of the network in few words, without addresses."""
    if isinstance(error, EnvforgeError):
        return str(error)
    return cause_of(error)
