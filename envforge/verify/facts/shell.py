"""What the shell around us sets: caches, compilers, PATH, and variables that change behaviour."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellFacts:
    """What programs started from here would find and write."""
