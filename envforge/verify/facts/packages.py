"""What packages tell of themselves, beyond name and version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFacts:
    """Metadata, ownership of files, leftovers and scripts of a prefix."""
