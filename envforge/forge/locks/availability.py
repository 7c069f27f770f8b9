"""`check --availability`: whether everything that is locked can still be fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from envforge.adapters.environments import CONDA_LOCK_YML
from envforge.adapters.files import is_folder, read_text
from envforge.errors import EnvforgeError, InvalidValue
from envforge.forge.workplace import Workplace
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.availability import Archive, Availability
from envforge.model.checked import LockFinding, LockReport
from envforge.model.wording import listed

if TYPE_CHECKING:
    from envforge.model.lock import Lock

CHECK = "archive-gone"
UNKNOWN = "archive-unknown"
_SHOWN = 3


def with_availability(
    workplace: Workplace, reports: Sequence[LockReport]
) -> tuple[LockReport, ...]:
    """The reports, with what asking for every locked archive came to.

    Raises:
        InvalidValue: we are offline.
    """
    if workplace.settings.offline:
        raise InvalidValue(
            what="option",
            value="--availability",
            reason="asks servers, and we are offline",
            remedy="leave out `--availability` or `--offline`",
        )
    return tuple(_asked(workplace, report) for report in reports)


def _asked(workplace: Workplace, report: LockReport) -> LockReport:
    path = report.path / CONDA_LOCK_YML if is_folder(report.path) else report.path
    try:
        lock = conda_lock_yml.read(read_text(path), str(path))
    except EnvforgeError:  # the report says so already
        return report
    with workplace.reporter.step(f"asking for the archives of {report.name}"):
        found = ask(workplace, lock)
    many = f"{found.asked} archives of {report.name}"
    if found.is_complete:
        workplace.reporter.note(f"all {many} are there")
    findings = sorted(
        (*report.findings, *_findings(found, report)), key=lambda item: item.severity != "error"
    )
    return replace(
        report,
        findings=tuple(findings),
        checked=(*report.checked, CHECK),
        availability=found,
    )


def ask(workplace: Workplace, lock: Lock) -> Availability:
    """Ask for every archive of a lock where an install would read it."""
    from envforge.adapters.availability import AvailabilityProbe
    from envforge.adapters.rattler_solver import RattlerSolver

    settings = workplace.settings_for(lock.channels)
    probe = AvailabilityProbe(
        settings=settings,
        pip=workplace.uv.settings,
        wheelhouse=workplace.wheelhouse,
        solver=RattlerSolver(settings),
        progress=workplace.reporter.progress,
    )
    return probe.ask(lock.packages, lock.channels)


def _findings(found: Availability, report: LockReport) -> list[LockFinding]:
    gone = [
        LockFinding(check=CHECK, message=_message(item), remedy=_remedy(item, report))
        for item in found.missing
    ]
    return [*gone, *_unknown(found)]


def _message(item: Archive) -> str:
    where = f"`{item.asked}`"
    locked = "" if item.asked == item.url else f" (locked as `{item.url}`)"
    message = f"`{item.name} {item.version}` for {', '.join(item.platforms)}: {where}{locked}"
    same = [place for place in item.elsewhere if place.is_proven]
    like = [place for place in item.elsewhere if not place.is_proven]
    message += f": {item.reason}"
    if same:
        message += f"; the same file is at {', '.join(f'`{place.where}`' for place in same)}"
    if like:
        message += f"; one of its name is at {', '.join(f'`{place.where}`' for place in like)}"
    return message if item.elsewhere else f"{message}; found nowhere else"


def _remedy(item: Archive, report: LockReport) -> str:
    kinds = {place.kind for place in item.elsewhere}
    if kinds & {"package-cache", "wheels"}:
        return "`envforge pack` keeps what this machine still has, for the others"
    if kinds & {"channel", "index"}:
        return f"envforge lock {report.name}, with that channel or index"
    if "address" in kinds:
        return "bring the mirror up to date: `envforge export --to mirror-list`"
    return f"envforge update {report.name} {item.name}"


def _unknown(found: Availability) -> list[LockFinding]:
    """One finding for each reason: a server that is down is one problem."""
    by_reason: dict[str, list[Archive]] = {}
    for item in found.unknown:
        by_reason.setdefault(item.reason, []).append(item)
    return [
        LockFinding(
            check=UNKNOWN,
            message=f"{len(items)} of {found.asked} archives could not be asked for"
            f" ({listed([item.name for item in items], _SHOWN, quote='`')}): {reason}",
            remedy="check the network, the proxy and `~/.netrc`, and run it again",
        )
        for reason, items in by_reason.items()
    ]
