"""Whether a store, and the views that hang on it, are as they should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from envforge.model.finding import Finding, Outcome

FlawKind = Literal[
    "missing",
    "wrong-size",
    "wrong-bytes",
    "wrong-name",
    "no-file",
    "writable",
    "unreadable",
    "foreign",
    "view-gone",
    "view-file",
    "view-ref",
    "view-copy",
    "unseen",
]
"""What is wrong. `wrong-name`: the index leads from a hub's name to a file of other bytes.
`foreign`: another user owns a file. `view-copy`: takes space of its own, and is right.
`unseen`: it could not be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One thing that is wrong."""

    kind: FlawKind
    path: str
    message: str
    sha256: str = ""
    view: str = ""
    """The view that it is in; empty: it is in the store."""
    wanted_by: tuple[str, ...] = ()
    """Who needs it: `nlp-torch20-cu118: bert-base-uncased config.json`."""
    remedy: str = ""
    is_warning: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Tells whether a later look found the same."""
        return self.kind, self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreHealth:
    """What a look at a store came to."""

    store: str
    files: int
    """Files of the store that were looked at."""
    size: int
    """Their bytes."""
    read: int
    """Bytes that were read and hashed."""
    views: int
    locks: tuple[str, ...]
    """Environments whose locks were compared."""
    flaws: tuple[Flaw, ...] = ()
    """What is wrong now, problems before warnings."""
    mended: tuple[Flaw, ...] = ()
    """What was, and is no longer."""
    notes: tuple[str, ...] = ()
    """What was done to mend it, and what stood in the way."""
    deep: bool = False

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong, but for warnings."""
        return all(flaw.is_warning for flaw in self.flaws)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreMade:
    """A store that was made, or found."""

    path: str
    is_new: bool
    owner: int
    group: str
    mode: int
    """Permission bits of its folders."""
    notes: tuple[str, ...] = ()
    """What about its disk a person should know."""

    @property
    def for_group(self) -> bool:
        """Whether only its group may read it."""
        return not self.mode & 0o005


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What `cache doctor` found."""

    outcomes: tuple[Outcome, ...]
    facts: Mapping[str, str]
    """What was seen, in display order."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, errors first."""
        found = [item for outcome in self.outcomes for item in outcome.findings]
        return tuple(sorted(found, key=lambda item: item.severity != "error"))

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong, but for warnings."""
        return all(item.severity != "error" for item in self.findings)
