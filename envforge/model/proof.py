"""A load that was watched, and what it proves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envforge.model.models import LinkMode, Repo

Origin = LinkMode | Literal["elsewhere", "missing"]
"""How the view has a file: from the store in one of three ways, by other means, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenFile:
    """One locked file, as a view shows it."""

    path: str
    size: int
    sha256: str
    origin: Origin
    inode: int | None
    """Of what the view shows; for hardlinks it is the store's own."""
    opened: bool = False
    mapped: bool = False
    """Whether it was seen in the program's memory, as a file; plain reading leaves no map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRun:
    """One run of the program."""

    cold: bool
    """Whether none of the repository's bytes were in memory before; else all was as it was."""
    status: int
    """Its exit status."""
    seconds: float
    """From its start to its end, imports and watching included."""
    load_seconds: float | None
    """The load alone; None: the program was not ours, so nobody measured it."""
    loader: str = ""
    """What loaded it: `transformers.AutoModel`; empty: not known."""
    notes: tuple[str, ...] = ()
    """Loaders that came before and could not, each with its reason."""
    calls: tuple[str, ...] = ()
    """Addresses that it tried to reach; each was refused."""
    strangers: tuple[str, ...] = ()
    """Files of other caches that it opened."""
    output: str = ""
    """The end of what it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProof:
    """What `cache prove` found."""

    environment: str
    repo: Repo
    revision: str
    commit: str
    store: str
    view: str
    command: tuple[str, ...]
    files: tuple[ProvenFile, ...]
    runs: tuple[LoadRun, ...]
    problems: tuple[tuple[str, str | None], ...] = ()
    """A sentence, and the remedy where there is one; empty: it is proven."""

    @property
    def passed(self) -> bool:
        """Whether the files came from the store, and nobody was called."""
        return not self.problems
