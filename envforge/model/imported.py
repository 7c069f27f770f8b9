"""What another tool's file, or a prefix somebody else made, tells of its environments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from envforge.errors import InvalidValue
from envforge.model.lock import Lock
from envforge.model.spec import Dependency

Kind = Literal[
    "conda-lock.yml",
    "pixi.lock",
    "pixi.toml",
    "explicit",
    "pylock.toml",
    "requirements.txt",
    "environment.yml",
    "Dockerfile",
    "prefix",
]
"""How a source is written; `prefix`: a live conda environment."""

DEFAULT_ENVIRONMENT: Final = "default"
"""What pixi calls the one environment that is always there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedEnvironment:
    """One environment as a source tells of it; what the source does not say is empty."""

    name: str
    """As the source calls it (pixi's `default`, conda's name); empty: it has none."""
    lock: Lock | None = None
    """Everything pinned; None: the source only asks. Hashes may be empty, and so may the address
    of a wheel, and the platform may be one that envforge does not lock for (`osx-64`)."""
    dependencies: tuple[Dependency, ...] = ()
    """Asked for directly."""
    channels: tuple[str, ...] = ()
    """In order of priority, by name or address, credentials included as they stand there."""
    platforms: tuple[str, ...] = ()
    """conda's names; empty: the source does not say."""
    indexes: tuple[str, ...] = ()
    """Wheel indexes beside the default one."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Set on activation."""
    local: tuple[str, ...] = ()
    """Names of packages that are a folder, a repository or an editable install: nobody else can
    fetch them by what the source says."""
    notes: tuple[str, ...] = ()
    """What the source holds, and no field here does; one clause each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Everything that one source tells."""

    origin: str
    """Path or name, as it was given."""
    kind: Kind
    environments: tuple[ImportedEnvironment, ...]
    """At least one, in the order of the source."""

    def choose(self, name: str | None = None) -> ImportedEnvironment:
        """One environment: the one named, else the only one, else pixi's `default`.

        Raises:
            InvalidValue: there is none of this name, or several and none is the default.
        """
        names = [item.name for item in self.environments]
        if name is None and len(names) == 1:
            return self.environments[0]
        wanted = DEFAULT_ENVIRONMENT if name is None else name
        if wanted in names:
            return self.environments[names.index(wanted)]
        if name is None:
            raise InvalidValue(
                what="source",
                value=self.origin,
                reason="holds several environments",
                remedy=self.remedy(names),
            )
        raise InvalidValue(
            what="environment",
            value=wanted,
            reason=f"is not in `{self.origin}`",
            remedy=self.remedy(names),
        )

    def remedy(self, names: Iterable[str]) -> str:
        """How one of several environments is named."""
        first, *others = names
        also = f"; others are {', '.join(others)}" if others else ""
        return f"`{self.origin}#{first}` names one{also}"
