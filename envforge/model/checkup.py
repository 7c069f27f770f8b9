"""What `envforge doctor` found, topic by topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envforge.model.finding import Finding, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One part of the machine, such as its GPUs, its disks or its network."""

    name: str
    outcomes: tuple[Outcome, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    """What was seen, in display order."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, errors first."""
        found = [item for outcome in self.outcomes for item in outcome.findings]
        return tuple(sorted(found, key=lambda item: item.severity != "error"))

    @property
    def problems(self) -> int:
        """Errors, and checks that crashed."""
        crashed = sum(item.verdict == "crashed" for item in self.outcomes)
        return crashed + sum(item.severity == "error" for item in self.findings)

    @property
    def warnings(self) -> int:
        """What is worth a look and stops nobody."""
        return sum(item.severity == "warning" for item in self.findings)

    @property
    def unseen(self) -> tuple[Outcome, ...]:
        """Checks that could not look."""
        return tuple(item for item in self.outcomes if item.verdict == "unproven")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """All of it."""

    topics: tuple[Topic, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong, but for warnings; what could not be seen is said."""
        return not any(item.problems for item in self.topics)
