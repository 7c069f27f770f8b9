"""Wheels that came in a pack: kept as they are, by their hash, for installs without a network.

uv's own cache is filled by uv alone, and only from where a wheel was fetched; a wheel that lies
here is handed to it as a file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from envforge.adapters.files import unusable
from envforge.formats.packs import pack_tar
from envforge.model.lock import LockedPackage


@dataclass(frozen=True, slots=True)
class Wheelhouse:
    """A folder of wheels."""

    root: Path

    def path(self, wheel: LockedPackage) -> Path:
        """Where a wheel lies, or would: uv wants it under its own name."""
        return self.root / wheel.sha256[:2] / wheel.sha256 / wheel.filename

    def find(self, wheel: LockedPackage) -> Path | None:
        """The wheel; None: it is not here. Its bytes are checked by whoever installs it."""
        if "/" in wheel.filename or not pack_tar.is_name(wheel.filename):
            return None
        path = self.path(wheel)
        return path if os.path.isfile(path) else None  # noqa: PTH113 - never an error

    def add(self, wheel: LockedPackage, file: Path) -> None:
        """Take in a file, whose hash was checked; it is moved here, from the same filesystem.

        Raises:
            FileNotUsable: the folder cannot be written.
        """
        target = self.path(wheel)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
        except OSError as error:
            raise unusable(target, error) from error
