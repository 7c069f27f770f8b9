"""What is remembered of a verification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envforge.model.finding import Finding, Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """How the last verification of an environment ended."""

    subject: str
    level: Level
    passed: bool
    findings: tuple[Finding, ...] = ()
    """What was wrong, errors first; what could not be looked at is an error among them."""
    passed_checks: int = 0
    unproven_checks: int = 0
    proven: Mapping[str, str] = field(default_factory=dict)
    at: str = ""
    """When it ended, `2026-01-31T12:00:00Z`; empty: not known."""
    lock: str = ""
    """Digest of the lock that was verified; empty: not known."""
