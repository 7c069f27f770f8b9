"""What a check is: a pure function over a subject, with what a person wants to know about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from envforge.model.finding import Finding, Level, Severity
from envforge.verify.facts import Layer, Subject

Test = Callable[[Subject], Iterator[Finding]]


class CannotLook(Exception):
    """Raised by a check whose claim could not be examined; its text says why."""


class NotApplicable(Exception):
    """Raised by a check whose claim is about something that is not here; its text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One claim that is tested. Its id is its key in `registry.CHECKS`."""

    test: Test
    """Yields findings; their `check`, `why` and `source` are filled in by `verify.judge`."""
    level: Level
    """How deep we must look for it."""
    needs: tuple[Layer, ...]
    """Without one of these it is unproven, and `test` is not called."""
    severity: Severity = "error"
    """`warning`: nothing it finds can fail a verification."""
    symptom: str
    """What a person sees when the claim is false."""
    why: str
    """Why it matters."""
    source: str
    """Where it is documented or was reported."""
    cause: str = ""
    """What brings it about, for `envforge explain`."""
    fix: str = ""
    """What mends it in general, for `envforge explain`; a finding's `remedy` is more exact."""
    after: tuple[str, ...] = ()
    """Ids of checks whose findings explain what this one would find; then it is not told."""

    @property
    def claim(self) -> str:
        """What the check holds true: the first line of its function's docstring."""
        return (self.test.__doc__ or "").strip().partition("\n")[0].rstrip(".")

    def __call__(self, subject: Subject) -> Iterator[Finding]:
        return self.test(subject)


def check(
    *,
    level: Level,
    needs: tuple[Layer, ...],
    symptom: str,
    why: str,
    source: str,
    cause: str = "",
    fix: str = "",
    after: tuple[str, ...] = (),
    severity: Severity = "error",
) -> Callable[[Test], Check]:
    """Make a function a check; it still needs an id and a place in `registry.CHECKS`."""

    def made(test: Test) -> Check:
        return Check(
            test=test,
            level=level,
            needs=needs,
            severity=severity,
            symptom=symptom,
            why=why,
            source=source,
            cause=cause,
            fix=fix,
            after=after,
        )

    return made
