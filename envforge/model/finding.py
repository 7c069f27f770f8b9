"""What a check noticed, and what a whole verification came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["static", "import", "live"]
"""How deep a verification goes: files only, torch imported, kernels run."""
LEVELS: tuple[Level, ...] = ("static", "import", "live")

Severity = Literal["error", "warning"]
Verdict = Literal["passed", "failed", "unproven", "inapplicable", "crashed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, with what mends it."""

    check: str = ""
    """The check's stable id, `driver-too-old`; filled in from the table when empty."""
    message: str
    seen: str
    expected: str
    why: str = ""
    """Why it matters to the person who will run a model here; from the table when empty."""
    remedy: str
    """A command where there is one, else one clause."""
    source: str = ""
    """Where the rule is documented; from the table when empty."""
    severity: Severity = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one check came to."""

    check: str
    claim: str
    """What the check holds true: the first line of its docstring."""
    verdict: Verdict
    """`unproven`: the check could not look, for the reason in `detail`; never a pass.
    `inapplicable`: its claim is about something that is not here, such as CUDA in a CPU build.
    """
    findings: tuple[Finding, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A verification of one environment."""

    subject: str
    prefix: str
    level: Level
    outcomes: tuple[Outcome, ...]
    proven: Mapping[str, str] = field(default_factory=dict)
    """Facts that were seen, in display order: torch, CUDA compiled, cuDNN loaded, per GPU …"""
    require_gpu: bool = False

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that is wrong, errors first."""
        everything = [item for outcome in self.outcomes for item in outcome.findings]
        return tuple(sorted(everything, key=lambda item: item.severity != "error"))

    @property
    def passed(self) -> bool:
        """No error was found and no check crashed. What is unproven is said, and is no failure."""
        return not any(
            outcome.verdict == "crashed" or any(f.severity == "error" for f in outcome.findings)
            for outcome in self.outcomes
        )

    @property
    def unproven(self) -> tuple[Outcome, ...]:
        """Checks that could not look, with the reason."""
        return tuple(item for item in self.outcomes if item.verdict == "unproven")
