"""`ports.SpaceProbe`: what disks and quotas have left, and how large archives are."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from envforge.adapters import package_cache
from envforge.adapters.channels import folder_of
from envforge.adapters.quota import quota
from envforge.adapters.rattler_installer import read_address
from envforge.errors import EnvforgeError
from envforge.model.lock import LockedPackage
from envforge.model.prefix import ArchiveFacts, Disk
from envforge.model.settings import Settings

if TYPE_CHECKING:
    from envforge.adapters.web import Web

_PATIENCE: Final = 3.0
"""Seconds that asking servers for sizes may take in all; the rest is estimated."""
_CONNECTIONS: Final = 8


@dataclass(frozen=True, slots=True)
class RealSpace:
    """Asks the kernel, the package cache and, for sizes nobody else knows, the servers."""

    settings: Settings
    wheel_cache: Path

    def caches(self) -> tuple[Path, Path]:
        """See `ports.SpaceProbe.caches`."""
        return self.settings.package_cache, self.wheel_cache

    def disk(self, folder: Path) -> Disk:
        """See `ports.SpaceProbe.disk`; looks at the nearest folder that we can see."""
        above = (folder, *folder.parents)
        present = next(path for path in above if os.path.exists(path))  # noqa: PTH110
        facts = os.statvfs(present)
        device = present.stat().st_dev
        blocks, files = quota(device)
        return Disk(
            path=str(present),
            device=device,
            free_bytes=facts.f_bavail * facts.f_frsize,
            free_inodes=facts.f_favail if facts.f_files else None,
            quota_bytes=blocks,
            quota_files=files,
        )

    def archives(
        self, packages: Sequence[LockedPackage], *, measure: bool
    ) -> Mapping[str, ArchiveFacts]:
        """See `ports.SpaceProbe.archives`."""
        known: dict[str, ArchiveFacts] = {}
        unknown: dict[str, str] = {}
        for package in packages:
            facts = self._at_hand(package, measure=measure)
            if facts is not None:
                known[package.url] = facts
            elif (address := self._address(package)) is not None:
                unknown[package.url] = address
        sizes = self._remote_sizes(unknown) if unknown and not self.settings.offline else {}
        return {**known, **{url: ArchiveFacts(size=size) for url, size in sizes.items()}}

    def _at_hand(self, package: LockedPackage, *, measure: bool) -> ArchiveFacts | None:
        """What takes no network: the cache's own lists, and files."""
        cache = self.settings.package_cache
        if package.manager == "conda" and package_cache.is_cached(cache, package):
            size, files = package_cache.unpacked(cache, package, measure=measure)
            return ArchiveFacts(
                cached=True, size=package.size or 0, unpacked_bytes=size, files=files
            )
        if package.size is not None:
            return ArchiveFacts(size=package.size)
        address = self._address(package)
        folder = folder_of(address) if address else None
        try:
            return ArchiveFacts(size=folder.stat().st_size) if folder else None
        except OSError:
            return ArchiveFacts()  # gone: whoever fetches it will say so

    def _address(self, package: LockedPackage) -> str | None:
        if package.manager == "pip":
            return package.url
        try:
            return read_address(package, self.settings)
        except EnvforgeError:
            return None  # the install itself says what is wrong with it

    def _remote_sizes(self, addresses: Mapping[str, str]) -> dict[str, int]:
        """Content-Length of each, where the server says it."""
        from concurrent.futures import ThreadPoolExecutor, as_completed
        from concurrent.futures import TimeoutError as OutOfTime

        from envforge.adapters.pip_settings import PipSettings
        from envforge.adapters.web import Web

        web = Web(self.settings, PipSettings())
        deadline = time.monotonic() + _PATIENCE
        pool = ThreadPoolExecutor(_CONNECTIONS)
        asked = {
            pool.submit(self._head, web, item, deadline): url for url, item in addresses.items()
        }
        sizes: dict[str, int] = {}
        try:
            for answer in as_completed(asked, timeout=_PATIENCE):
                size = answer.result()
                if size is not None:
                    sizes[asked[answer]] = size
        except OutOfTime:
            return sizes
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return sizes

    def _head(self, web: Web, address: str, deadline: float) -> int | None:
        from http.client import HTTPException

        left = deadline - time.monotonic()
        if left <= 0 or not address.startswith(("http://", "https://")):
            return None
        try:
            with web.open(address, method="HEAD", timeout=left) as answer:
                return int(answer.headers["Content-Length"])
        except (EnvforgeError, HTTPException, OSError, ValueError, TypeError):
            return None
