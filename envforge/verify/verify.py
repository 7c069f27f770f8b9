"""Runs checks over a subject, and sums up what they found."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from envforge.model.finding import LEVELS, Finding, Level, Outcome, Report, Unseen, Verdict
from envforge.verify import registry, remedies
from envforge.verify.check import CannotLook, Check, NotApplicable
from envforge.verify.checks.machine import NO_DRIVER, NO_GPU
from envforge.verify.facts import HostFacts, Kind, Layer, Subject
from envforge.verify.proven import proven

_LOG = logging.getLogger(__name__)

LAYERS: Final[Mapping[Kind, frozenset[Layer]]] = {
    "environment": frozenset({"lock", "host", "prefix", "probe"}),
    "prefix": frozenset({"host", "prefix", "probe"}),
    "interpreter": frozenset({"host", "prefix", "probe"}),
    "lock": frozenset({"lock", "host"}),
    "host": frozenset({"host"}),
}
"""What there is to look at in each kind of subject; a prefix may come with a lock, too.

A check about anything else is left out of the report, unless it is asked for by name: nobody who
asks about the machine expects to read that no package of it could be compared with a lock.
"""


def report(
    subject: Subject,
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    checks: Mapping[str, Check] = registry.CHECKS,
) -> Report:
    """Judge a subject, and list what was proven.

    Raises:
        InvalidValue: `only` or `skip` names a check that does not exist.
    """
    return Report(
        subject=subject.name,
        kind=subject.kind,
        prefix=subject.prefix.prefix if subject.prefix else "",
        level=subject.level,
        outcomes=judge(subject, only=only, skip=skip, checks=checks),
        proven=proven(subject),
        require_gpu=subject.require_gpu,
        asked=tuple(only),
        unseen=_unseen(subject),
    )


def judge(
    subject: Subject,
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    checks: Mapping[str, Check] = registry.CHECKS,
) -> tuple[Outcome, ...]:
    """Run the checks, in the order of their table.

    Raises:
        InvalidValue: `only` or `skip` names a check that does not exist.
    """
    wanted = registry.chosen(checks, only=only, skip=skip)
    outcomes: list[Outcome] = []
    failed: set[str] = set()
    for name, check in wanted.items():
        if name not in only and not _concerns(check, subject):
            continue
        outcome = _explained(name, check, failed) or _outcome(name, check, subject)
        if any(item.severity == "error" for item in outcome.findings):
            failed.add(name)
        outcomes.append(outcome)
    return tuple(outcomes)


def layers_of(subject: Subject) -> frozenset[Layer]:
    """What there is to look at."""
    layers = LAYERS[subject.kind]
    has_claim = subject.locked is not None or "lock" in subject.missing
    return layers | {"lock"} if has_claim and subject.kind != "host" else layers


def _concerns(check: Check, subject: Subject) -> bool:
    return layers_of(subject).issuperset(check.needs)


def _unseen(subject: Subject) -> tuple[Unseen, ...]:
    """An interpreter that had to answer, and did not."""
    if "probe" not in layers_of(subject) or subject.level == "static":
        return ()
    if subject.probe is None:
        reason = subject.missing.get("probe", "the interpreter was not asked")
    elif subject.probe.failure is not None:
        reason = f"the interpreter gave no answer: {subject.probe.failure}"
    else:
        return ()
    remedy = f"{remedies.install(subject)}; `--level static` looks at the files alone"
    return (Unseen(what="probe", reason=reason, remedy=remedy),)


def possible_level(host: HostFacts, *, is_cpu_build: bool) -> Level:
    """The deepest level that says something here: `live` needs a usable GPU, or a CPU build.

    A machine that is described cannot be tried, whatever the build.
    """
    if host.machine.origin == "described":
        return "import"
    return "live" if host.usable_gpus or is_cpu_build else "import"


_NOTHING_ABOUT: Final[Mapping[Layer, str]] = {
    "lock": "there is no lock to compare with",
    "host": "no machine was looked at",
    "prefix": "nothing that is installed was named",
    "probe": "no interpreter was asked",
}


def _explained(name: str, check: Check, failed: Collection[str]) -> Outcome | None:
    """What follows from a problem already named is not told as another one, nor as proven."""
    cause = next((item for item in check.after if item in failed), None)
    if cause is None:
        return None
    detail = f"cannot be told as long as `{cause}` is found"
    return Outcome(check=name, claim=check.claim, verdict="unproven", detail=detail)


def _outcome(name: str, check: Check, subject: Subject) -> Outcome:
    reason = _why_not(check, subject)
    if reason is not None:
        return Outcome(check=name, claim=check.claim, verdict="unproven", detail=reason)
    findings: list[Finding] = []
    verdict, detail = _run(name, check, subject, findings)
    return Outcome(
        check=name,
        claim=check.claim,
        verdict="failed" if findings and verdict != "crashed" else verdict,
        findings=tuple(_completed(name, check, item) for item in findings),
        detail=detail,
    )


def _run(name: str, check: Check, subject: Subject, findings: list[Finding]) -> tuple[Verdict, str]:
    try:
        findings.extend(check(subject))
    except CannotLook as reason:
        return "unproven", str(reason)
    except NotApplicable as reason:
        return "inapplicable", str(reason)
    except Exception as error:  # noqa: BLE001 - a check that crashed has proven nothing
        _LOG.exception("check %s crashed", name)
        return "crashed", f"{type(error).__name__}: {error}"
    return "passed", ""


def _completed(name: str, check: Check, finding: Finding) -> Finding:
    return replace(
        finding,
        check=name,
        why=finding.why or check.why,
        source=finding.source or check.source,
        severity="warning" if check.severity == "warning" else finding.severity,
    )


def _why_not(check: Check, subject: Subject) -> str | None:
    """Why the check cannot look at all; None: it can."""
    present = {
        "lock": subject.locked,
        "host": subject.host,
        "prefix": subject.prefix,
        "probe": subject.probe,
    }
    if LEVELS.index(check.level) > LEVELS.index(subject.level):
        return _too_shallow(check, subject)
    for layer in check.needs:
        if present[layer] is None:
            return subject.missing.get(layer, _NOTHING_ABOUT[layer])
    return None


def _too_shallow(check: Check, subject: Subject) -> str:
    if "host" in check.needs and subject.host and not subject.host.usable_gpus:
        return NO_GPU if subject.host.machine.driver else NO_DRIVER
    return f"needs `--level {check.level}`"
