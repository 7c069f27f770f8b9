"""rattler's progress as events of `rattler_link`; imported only where rattler runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rattler.install import InstallerReporter

from envforge.model.lock import LockedPackage

Say = Callable[[Mapping[str, Any]], None]
_PAUSE: Final = 0.1
"""Seconds between two reports."""


class LinkProgress(InstallerReporter):
    """Counts packages, shows the bytes of downloads, and keeps what was linked.

    rattler hands back, as `*_entry` and `*_idx`, what the matching `start` returned: here always
    the operation's number. Its calls come from many threads, one at a time.
    """

    def __init__(
        self, say: Say, missing: Sequence[LockedPackage], remote: Mapping[str, str]
    ) -> None:
        """`remote` are the packages that come over a network: name to file name."""
        self._say = say
        self._total = 0
        self._done = 0
        self._names: dict[int, str] = {}
        self._last = 0.0
        self._sizes = {item.name: item.size for item in missing}
        self._coming: dict[int, str] = {}
        self._heard = time.monotonic()
        self._remote = dict(remote)
        self._scripts: list[str] = []
        self.linked: list[str] = []
        self.failed_scripts: list[str] = []

    def on_transaction_start(self, total_operations: int) -> None:
        """The number of packages to link, unlink or both."""
        self._total = total_operations
        self._tell("", force=True)

    def on_populate_cache_start(self, operation: int, package_name: str) -> int:
        """A package is looked for in the cache, and fetched where it is not there."""
        self._names[operation] = package_name
        self._heard = time.monotonic()
        if package_name in self._remote:
            self._coming[operation] = self._remote[package_name]
        return operation

    def on_populate_cache_complete(self, cache_entry: int) -> None:
        """It is there."""
        self._heard = time.monotonic()
        self._coming.pop(cache_entry, None)

    def silent_download(self, patience: float) -> str | None:
        """The file that is waited for while nothing came for so many seconds; None: all is well."""
        if time.monotonic() - self._heard < patience:
            return None
        return next(iter(self._coming.values()), None)

    def on_download_start(self, cache_entry: int) -> int:
        """The package is not cached and not a file."""
        return cache_entry

    def on_download_progress(self, download_idx: int, progress: int, total: int | None) -> None:
        """Bytes so far."""
        self._heard = time.monotonic()
        name = self._names.get(download_idx, "")
        whole = total or self._sizes.get(name)
        of = f" of {whole / 1e6:.1f}" if whole else ""
        self._tell(f"{name} {progress / 1e6:.1f}{of} MB")

    def on_link_start(self, operation: int, package_name: str) -> int:
        """A package goes into the prefix."""
        self.linked.append(package_name)
        return operation

    def on_transaction_operation_complete(self, operation: int) -> None:
        """One package is done."""
        self._done += 1
        self._tell(self._names.get(operation, ""))

    def on_transaction_complete(self) -> None:
        """All are."""
        self._tell("", force=True)

    def on_post_link_start(self, package_name: str, script_path: str) -> int:  # noqa: ARG002
        """A package's script runs."""
        self._scripts.append(package_name)
        return len(self._scripts) - 1

    def on_post_link_complete(self, index: int, success: bool) -> None:
        """A package's script ended; rattler goes on where it failed."""
        if not success:
            self.failed_scripts.append(self._scripts[index])

    def _tell(self, detail: str, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._last >= _PAUSE:
            self._last = now
            self._say(
                {"event": "progress", "done": self._done, "total": self._total, "detail": detail}
            )
