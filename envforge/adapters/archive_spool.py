"""Archives on their way into the package cache that must not be begun anew: large, or a bad line.

They come as files, in parts that can be gone on with, and are handed to rattler as files; what
was linked is deleted. What is left of a broken-off install waits for the next one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from envforge.adapters.files import unusable
from envforge.adapters.pack.download import Downloads
from envforge.adapters.pip_settings import PipSettings
from envforge.errors import Unreachable
from envforge.model.lock import LockedPackage
from envforge.model.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Self

    from envforge.adapters.rattler_link import LinkRequest

Progress = Callable[[int, int | None, str, str], None]
_AT_ONCE: Final = 4
_STALE: Final = 7 * 86400.0
"""Seconds after which a part is given up: nobody came back for it."""
_HELPS: Final = (
    "broke off",
    "asks for a login",
    "(408 ",
    "(425 ",
    "(429 ",
    "(502 ",
    "(503 ",
    "(504 ",
)
"""What rattler's failures say where patience, or a login that it does not know, may help."""


class ArchiveSpool:
    """A folder of archives that are on their way."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress
        self._folder = settings.cache / "archives"
        self._taken: list[Path] = []
        self._came: dict[str, int] = {}
        self._lock = threading.Lock()
        self._shown = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            return
        for path in self._taken:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # another install may need it
            self._folder.rmdir()

    def helps(self, error: Unreachable) -> bool:
        """Whether fetching once more, in this way, may go better."""
        return not self._settings.offline and any(word in error.reason for word in _HELPS)

    def fetched(self, request: LinkRequest, which: Callable[[LockedPackage], bool]) -> LinkRequest:
        """The request with these packages' archives here as files.

        Raises:
            CorruptArchive, Unreachable, FileNotUsable
        """
        coming = [
            item
            for item in request.packages
            if item.url in request.addresses
            and request.addresses[item.url].startswith(("http://", "https://"))
            and which(item)
        ]
        if not coming:
            return request
        self._clean()
        here = {item.url: path.as_uri() for item, path in self._fetch(coming)}
        return replace(request, addresses={**request.addresses, **here})

    def _fetch(self, coming: Sequence[LockedPackage]) -> list[tuple[LockedPackage, Path]]:
        from envforge.adapters.rattler_installer import read_addresses

        names = {item.sha256: item for item in coming}
        downloads = Downloads(
            self._settings, PipSettings(), come=lambda sha, size: self._tell(names[sha], size)
        )

        def fetch(item: LockedPackage) -> Path:
            addresses = read_addresses(item, self._settings)
            return downloads.fetch_from(addresses, item.sha256, self._folder)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            asked = [(item, pool.submit(fetch, item)) for item in coming]
            try:
                found = [(item, future.result()) for item, future in asked]
            finally:
                downloads.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
        named = [(item, self._named(item, path)) for item, path in found]
        self._taken += [path for _, path in named]
        return named

    def _named(self, package: LockedPackage, path: Path) -> Path:
        """Under its own name, by which rattler tells the format."""
        target = path.with_name(f"{package.sha256}-{package.filename}")
        return path.replace(target)

    def _tell(self, package: LockedPackage, size: int) -> None:
        with self._lock:
            come = self._came[package.sha256] = self._came.get(package.sha256, 0) + size
            now = time.monotonic()
            if now - self._shown < 0.1:
                return
            self._shown = now
            of = f" of {package.size / 1e6:.1f}" if package.size else ""
            self._progress(0, None, "packages", f"{package.name} {come / 1e6:.1f}{of} MB")

    def _clean(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in self._folder.iterdir():
                if time.time() - path.stat().st_mtime > _STALE:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise unusable(self._folder, error) from error
