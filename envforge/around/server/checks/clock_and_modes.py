"""The clock, and the modes that new files get."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Final

from envforge.around.server.checks.package_caches import present
from envforge.around.server.server_facts import ServerFacts
from envforge.model.finding import Finding, NotSeen
from envforge.model.wording import counted

_RIGHT: Final = 5.0
_WARN_SKEW: Final = 30.0
_SKEW: Final = 300.0
"""Seconds beyond which Kerberos refuses tickets (krb5.conf(5), clockskew); signed addresses of
object stores allow 900."""


def clock_right(seen: ServerFacts) -> Iterator[Finding]:
    """This machine's clock is right, by the servers' word."""
    ahead, count = _ahead(seen)
    if ahead is None:
        raise NotSeen("no server told the time")
    if abs(ahead) >= _WARN_SKEW:
        yield Finding(
            message=f"this machine's clock is {abs(ahead):.0f} s {'slow' if ahead > 0 else 'fast'}:"
            " certificates, logins and signed downloads are refused when it is far off",
            seen=f"{-ahead:+.0f} s, by {counted(count, 'server')}",
            expected=f"within {_WARN_SKEW:.0f} s",
            remedy="sudo timedatectl set-ntp true && timedatectl timesync-status",
            severity="error" if abs(ahead) >= _SKEW else "warning",
        )


def _ahead(seen: ServerFacts) -> tuple[float | None, int]:
    """Seconds that the servers' clocks are ahead of ours, and how many told; None: nobody."""
    told = [item.clock_ahead for item in seen.addresses if item.clock_ahead is not None]
    return (median(told) if told else None), len(told)


def clock_kept(seen: ServerFacts) -> Iterator[Finding]:
    """Something keeps the clock right."""
    if seen.clock_kept is None:
        raise NotSeen("the kernel does not tell")
    ahead, _ = _ahead(seen)
    if not seen.clock_kept and (ahead is None or abs(ahead) > _RIGHT):  # a host may keep it
        yield Finding(
            message="the kernel's clock is not kept by NTP or the like: it will drift",
            seen="unsynchronised (adjtimex)",
            expected="synchronised",
            remedy="sudo timedatectl set-ntp true",
            source="adjtimex(2), STA_UNSYNC",
            severity="warning",
        )


def own_umask(seen: ServerFacts) -> Iterator[Finding]:
    """What you make can be used by a group that works there, and changed by no stranger."""
    if seen.umask is None:
        raise NotSeen("the system does not tell the umask")
    if not seen.umask & 0o002:
        yield Finding(
            message=f"umask {seen.umask:04o} lets everybody change what you make: environments,"
            " packages, and the programs in them",
            seen=f"umask {seen.umask:04o}",
            expected="umask 0022, 0027 or 0002",
            remedy="umask 0022",
        )
    shared = [item for item in present(seen) if item.is_ours and item.place.mode & 0o070]
    lost = seen.umask & (shared[0].place.mode & 0o070) if shared else 0
    if lost:
        yield Finding(
            message=f"umask {seen.umask:04o} closes to the group what you put into"
            f" `{shared[0].place.path}`, which is open to it",
            seen=f"umask {seen.umask:04o}, folder {shared[0].place.mode:04o}",
            expected="umask 0002 where a group writes, 0022 where it reads",
            remedy="umask 0002" if shared[0].place.mode & 0o020 else "umask 0022",
            severity="warning",
        )


def login_umask(seen: ServerFacts) -> Iterator[Finding]:
    """New logins make files that nobody but their group can write."""
    if seen.login_umask is None:
        raise NotSeen("/etc/login.defs does not tell")
    if not seen.login_umask & 0o002:
        yield Finding(
            message=f"logins get umask {seen.login_umask:04o}: everybody may change everybody's"
            " files",
            seen=f"UMASK {seen.login_umask:03o}",
            expected="022, 027 or 002",
            remedy="sudo sed -i 's/^UMASK.*/UMASK 022/' /etc/login.defs",
            source="login.defs(5), UMASK; pam_umask(8)",
        )
