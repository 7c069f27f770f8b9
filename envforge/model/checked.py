"""What a check of locks came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from envforge.model.availability import Availability
    from envforge.model.finding import Severity

STALE: Final = frozenset({"lock-stale", "models-stale"})
"""The checks whose finding means that a lock is not what its sources ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFinding:
    """One thing that is wrong with a lock, or with the files beside it."""

    check: str
    """Stable id, `mirror-address`."""
    message: str
    """Never holds a secret that was found."""
    remedy: str
    """A command where there is one, else one clause."""
    severity: Severity = "error"
    fixable: bool = False
    """Whether `check --fix` mends it: where nobody has to decide anything."""
    file: str = "conda-lock.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockReport:
    """One environment, or one lock file."""

    name: str
    path: Path
    """The folder, or the file."""
    findings: tuple[LockFinding, ...]
    """Errors first."""
    checked: tuple[str, ...]
    """Ids of the checks that looked."""
    unproven: tuple[tuple[str, str], ...] = ()
    """Ids of those that could not, each with the reason; never a pass."""
    fixed: tuple[str, ...] = ()
    """Files that were mended before this was looked at."""
    packages: int = 0
    platforms: tuple[str, ...] = ()
    availability: Availability | None = None
    """Whether the archives can still be fetched; None: that was not asked."""

    @property
    def is_stale(self) -> bool:
        """Whether a lock is not current."""
        return any(item.check in STALE for item in self.findings)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong as far as was looked; warnings are said, and are no failure."""
        return not any(item.severity == "error" for item in self.findings)
