"""What the loader would do with the prefix's shared objects, found out without running it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Linking:
    """ELF headers of the prefix, and where each needed library would come from."""
