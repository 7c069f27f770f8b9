"""Runs checks over a subject, and sums up what they found."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace

from envforge.model.finding import LEVELS, Finding, Level, Outcome, Report, Verdict
from envforge.model.lock import Target
from envforge.verify import registry
from envforge.verify.check import CannotLook, Check, NotApplicable
from envforge.verify.checks.machine import NO_DRIVER, NO_GPU
from envforge.verify.facts import HostFacts, Subject
from envforge.verify.proven import proven

_LOG = logging.getLogger(__name__)


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
        prefix=subject.prefix.prefix if subject.prefix else "",
        level=subject.level,
        outcomes=judge(subject, only=only, skip=skip, checks=checks),
        proven=proven(subject),
        require_gpu=subject.require_gpu,
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
        outcome = _explained(name, check, failed) or _outcome(name, check, subject)
        if any(item.severity == "error" for item in outcome.findings):
            failed.add(name)
        outcomes.append(outcome)
    return tuple(outcomes)


def possible_level(host: HostFacts, target: Target | None) -> Level:
    """The deepest level that says something here: `live` needs a usable GPU, or a CPU build."""
    is_cpu_build = target is not None and target.cuda is None
    return "live" if host.usable_gpus or is_cpu_build else "import"


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
            return subject.missing.get(layer, f"there are no facts about the {layer}")
    return None


def _too_shallow(check: Check, subject: Subject) -> str:
    if "host" in check.needs and subject.host and not subject.host.usable_gpus:
        return NO_GPU if subject.host.machine.driver else NO_DRIVER
    return f"needs `--level {check.level}`"
