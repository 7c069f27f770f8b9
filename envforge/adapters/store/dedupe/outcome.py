"""What came of carrying out a plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from envforge.cache.dedupe_plan import Copy


class Known(NamedTuple):
    """A copy whose bytes were seen to be what the claim says."""

    copy: Copy
    claim: str
    read_at: int


@dataclass(kw_only=True)
class Outcome:
    """What came of it."""

    names: int = 0
    """That are links now."""
    copies: int = 0
    freed: int = 0
    """Bytes on disk."""
    read: int = 0
    """Bytes that were asked for."""
    damaged: list[tuple[str, str]] = field(default_factory=list)
    """Path and claim of files whose bytes are not what they are called."""
    different: list[str] = field(default_factory=list)
    """Files whose samples, or bytes, are not those of the proven one."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    proven: list[Known] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """What another thread did."""
        self.names += other.names
        self.copies += other.copies
        self.freed += other.freed
        self.read += other.read
        self.damaged += other.damaged
        self.different += other.different
        self.problems += other.problems
        self.proven += other.proven
