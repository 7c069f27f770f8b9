"""What a check noticed, and what a whole verification came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

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


Facts = TypeVar("Facts")


class NotSeen(Exception):
    """What a check is about could not be looked at; the text says why."""


def judged(
    checks: Mapping[str, Callable[[Facts], Iterator[Finding]]], seen: Facts
) -> tuple[Outcome, ...]:
    """What each check of a table says of these facts; its claim is its docstring's first line.

    One that raises `NotSeen` is unproven, which is never a pass.
    """
    return tuple(_outcome(name, check, seen) for name, check in checks.items())


def _outcome(name: str, check: Callable[[Facts], Iterator[Finding]], seen: Facts) -> Outcome:
    claim = (check.__doc__ or "").splitlines()[0].rstrip(".")
    try:
        findings = tuple(replace(item, check=item.check or name) for item in check(seen))
    except NotSeen as reason:
        return Outcome(check=name, claim=claim, verdict="unproven", detail=str(reason))
    return Outcome(
        check=name, claim=claim, verdict="failed" if findings else "passed", findings=findings
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """Something that had to be looked at and could not be; never a pass."""

    what: Literal["environment", "probe"]
    """The whole environment, or what its interpreter would have told."""
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A verification of one subject."""

    subject: str
    """The environment's name, or what else was named."""
    kind: str = "environment"
    """What was named: `environment`, `prefix`, `interpreter`, `lock` or `host`."""
    prefix: str
    """Where it is installed; empty: nowhere, as with a lock alone."""
    level: Level
    outcomes: tuple[Outcome, ...]
    proven: Mapping[str, str] = field(default_factory=dict)
    """Facts that were seen, in display order: torch, CUDA compiled, cuDNN loaded, per GPU …"""
    require_gpu: bool = False
    asked: tuple[str, ...] = ()
    """Ids of the checks that were asked for by name; empty: all of them."""
    unseen: tuple[Unseen, ...] = ()
    """What this level must look at and could not."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that is wrong, errors first."""
        everything = [item for outcome in self.outcomes for item in outcome.findings]
        return tuple(sorted(everything, key=lambda item: item.severity != "error"))

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong as far as was looked.

        An error, a check that crashed, what had to be looked at and could not be, and a check
        that was asked for by name and could not look are problems. What else is unproven is
        said, and is none.
        """
        return not (
            self.unseen
            or self.crashed
            or self.unanswered
            or any(item.severity == "error" for item in self.findings)
        )

    @property
    def crashed(self) -> tuple[Outcome, ...]:
        """Checks that ended in a bug of their own."""
        return tuple(item for item in self.outcomes if item.verdict == "crashed")

    @property
    def unproven(self) -> tuple[Outcome, ...]:
        """Checks that could not look, with the reason."""
        return tuple(item for item in self.outcomes if item.verdict == "unproven")

    @property
    def unanswered(self) -> tuple[Outcome, ...]:
        """Those of them that were asked for by name."""
        return tuple(item for item in self.unproven if item.check in self.asked)
