"""What setting up git came to, and what a merge of locks did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class GitInstalled:
    """How a repository shows and merges locks from now on."""

    repository: Path
    settings: tuple[str, ...]
    """Keys of its configuration that were changed; empty: it was as it should be."""
    attributes: Path
    wrote_attributes: bool
    """Whether `.gitattributes` was changed, which is to be committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockMerge:
    """How the locks of two branches were put together."""

    is_clean: bool
    """Whether nothing is left to do: the lock is one side's, or every line merged as text."""
    by_package: bool
    """False: as text, because another tool wrote it."""
    is_solved: bool = False
    """Whether what was written is as a solver left it, though the other side was given up."""
    conflicts: tuple[str, ...] = ()
    """Packages that both sides moved: ours was kept."""
