"""Environments and their verifications, in words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from envforge.around.page.overview import Badge, EnvironmentRow, FindingRow, VerifyRow
from envforge.model.cuda import accelerator_name
from envforge.model.lock import Lock
from envforge.model.machine import Platform
from envforge.model.prefix import PrefixState
from envforge.model.results import EnvironmentInfo
from envforge.model.verified import Verified
from envforge.model.wording import counted

_REASONS: Final = 3
"""Why a lock is stale, at most; `envforge check` tells all."""


def environment_row(
    info: EnvironmentInfo, verified: VerifyRow | None, *, platform: Platform, home: str
) -> EnvironmentRow:
    """One row; `home` is written `~`."""
    state = state_of(info)
    state = replace(state, why=shortened(state.why, home))
    told = {"verified": _badge_of(info, verified), "verified_at": verified.at if verified else ""}
    if info.lock is None:
        return EnvironmentRow(name=info.name, state=state, **told)  # type: ignore[arg-type]
    target = info.lock.target
    return EnvironmentRow(
        name=info.name,
        state=state,
        torch=target.torch if target else "",
        accelerator=accelerator_name(target.cuda) if target else "",
        python=target.python if target else "",
        driver=(target.min_driver or "") if target else "",
        platforms=info.lock.platforms,
        packages=_packages(info.lock, platform),
        prefix=shortened(str(info.prefix or ""), home),
        **told,  # type: ignore[arg-type]
    )


def state_of(info: EnvironmentInfo) -> Badge:
    """How far an environment is, and the command that brings it on."""
    name = shlex.quote(info.name)
    if info.problem:
        return Badge(text="cannot be read", tone="bad", why=info.problem)
    if info.lock is None:
        return Badge(text="not locked", tone="warn", remedy=f"envforge lock {name}")
    if info.stale:
        why = "; ".join(info.stale[:_REASONS])
        if len(info.stale) > _REASONS:
            why += f"; and {len(info.stale) - _REASONS:,} more"
        return Badge(text="stale lock", tone="warn", why=why, remedy=f"envforge lock {name}")
    return _installed(info, f"envforge install {name}")


def _installed(info: EnvironmentInfo, install: str) -> Badge:
    if info.prefix is None or info.state is PrefixState.ABSENT:
        return Badge(text="not installed", tone="quiet", remedy=install)
    if info.state is PrefixState.INCOMPLETE:
        why = "an install began and did not end"
        return Badge(text="half installed", tone="bad", why=why, remedy=install)
    if info.state is PrefixState.FOREIGN:
        return Badge(text="not ours", tone="quiet", why="another tool made this environment")
    if not info.up_to_date:
        why = "installed from another lock than this one"
        return Badge(text="behind its lock", tone="warn", why=why, remedy=install)
    return Badge(text="ready", tone="good")


def verify_row(found: Verified, *, digest: str | None = None, home: str = "") -> VerifyRow:
    """How a verification ended.

    Args:
        found: what is remembered of it.
        digest: of the lock as it is now; None: not known.
        home: written `~`.
    """
    return VerifyRow(
        name=found.subject,
        result=_result(found),
        level=found.level,
        at=found.at,
        is_outdated=bool(found.lock and digest and found.lock != digest),
        passed=found.passed_checks,
        unproven=found.unproven_checks,
        findings=tuple(
            FindingRow(
                check=item.check,
                severity=item.severity,
                message=shortened(item.message, home),
                remedy=shortened(item.remedy, home),
            )
            for item in found.findings
        ),
        proven=tuple((name, shortened(told, home)) for name, told in found.proven.items()),
    )


def by_name(rows: Iterable[VerifyRow]) -> Mapping[str, VerifyRow]:
    """The row of each environment."""
    return {row.name: row for row in rows}


def _result(found: Verified) -> Badge:
    errors = sum(item.severity == "error" for item in found.findings)
    warnings = len(found.findings) - errors
    if not found.passed:
        text = counted(errors, "problem") if errors else "could not look"
        return Badge(text=text, tone="bad")
    if warnings:
        return Badge(text=counted(warnings, "warning"), tone="warn")
    return Badge(text="passed", tone="good")


def _badge_of(info: EnvironmentInfo, row: VerifyRow | None) -> Badge:
    verify = f"envforge verify {shlex.quote(info.name)}"
    is_there = info.prefix is not None and info.state is not PrefixState.ABSENT
    if row is None:
        is_there = is_there and info.problem is None
        return Badge(text="never" if is_there else "", tone="quiet", remedy=verify * is_there)
    if row.is_outdated:
        why = "the lock is another one by now"
        return Badge(text=f"{row.result.text}, before", tone="quiet", why=why, remedy=verify)
    if not is_there:
        return Badge(text=row.result.text, tone="quiet", why="it is not installed here now")
    return row.result


def _packages(lock: Lock, platform: Platform) -> int:
    chosen = platform if platform in lock.platforms else lock.platforms[0]
    return len(lock.for_platform(chosen))


def shortened(text: str, home: str) -> str:
    """Words with `~` for this home, in front of each path in it; no shell expands a quoted one."""
    if home in {"", "/"}:
        return text
    return re.sub(rf"(?<![\w./'\"-]){re.escape(home.rstrip('/'))}/", "~/", text)
