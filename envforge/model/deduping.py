"""What linking equal files of existing caches comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupeResult:
    """One run, or what one would do."""

    paths: tuple[Path, ...]
    dry_run: bool = False
    names: int = 0
    """Model files that were seen; each name counts."""
    inodes: int = 0
    """Files that they are on the disk."""
    sets: int = 0
    """Different files of which there were copies to replace."""
    copies: int = 0
    """Files that were replaced, or would be."""
    linked: int = 0
    """Names that became links."""
    freed: int = 0
    """Bytes on disk that came free, or would."""
    read: int = 0
    """Bytes that were read to prove it."""
    to_read: int = 0
    """With `dry_run`: bytes of the files that would be proven first."""
    adopted: int = 0
    """Files that the store took over."""
    adopted_bytes: int = 0
    copied: int = 0
    """Of these, those that lie on another filesystem, and stay there as well."""
    left: Mapping[str, int] = field(default_factory=dict)
    """Copies that stay apart, by reason."""
    left_bytes: int = 0
    damaged: tuple[tuple[str, str], ...] = ()
    """Path and claim of files whose bytes are not what they are called; left as they are."""
    different: tuple[str, ...] = ()
    """Files that differ from the proven copy; left as they are."""
    problems: tuple[tuple[str, str], ...] = ()
    """Path and reason of what could not be read or replaced."""
    stores: tuple[str, ...] = ()
    """Stores that were met; they hold nothing twice."""
    journal: Path | None = None
    """To undo it by; None: nothing was replaced."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoResult:
    """A run that was taken back."""

    journal: Path
    restored: int = 0
    """Names that have a file of their own again."""
    bytes: int = 0
    skipped: int = 0
    """Names that are something else by now, or never became links."""
    problems: tuple[tuple[str, str], ...] = ()
    complete: bool = True
    """Whether nothing of the run is left to undo."""
