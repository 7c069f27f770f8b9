"""Is the lock for the platform that it is to run on?"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from envforge.model.finding import Finding
from envforge.verify.check import NotApplicable, check
from envforge.verify.facts import Subject


@check(
    level="static",
    needs=(),
    symptom="the installer says that the lock holds no packages for this platform",
    cause="The lock was made on, or for, another platform, and names packages of that one alone.",
    fix="Lock again with `--platform`, once for each platform that is to install it.",
    why="none of its packages can be installed or compared here",
    source="conda-lock documentation, platform specification",
)
def platform_not_locked(subject: Subject) -> Iterator[Finding]:
    """The lock holds packages for this platform."""
    if not subject.platforms:
        raise NotApplicable("there is no lock")
    if subject.platform in subject.platforms:
        return
    place = subject.place or subject.folder
    again = f"`envforge lock {shlex.quote(place)}`" if place else "lock it again"
    yield Finding(
        message=f"the lock holds nothing for {subject.platform}, which this machine is",
        seen=f"packages for {', '.join(subject.platforms)}",
        expected=f"packages for {subject.platform}",
        remedy=f"add {subject.platform} to `platforms:` of its environment.yml, then {again}",
    )
