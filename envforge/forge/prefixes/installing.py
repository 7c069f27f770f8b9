"""`install` and `remove`: a lock becomes a prefix, and goes again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from envforge.adapters.environments import CONDA_LOCK_YML, ENVIRONMENT_YML
from envforge.adapters.prefix_reader import read_state
from envforge.errors import InvalidValue, StaleLock
from envforge.forge import folders
from envforge.forge.activation import writing as activation
from envforge.forge.prefixes import locating
from envforge.forge.workplace import Workplace, this_platform
from envforge.formats.conda import conda_spec, environment_yml
from envforge.install import install as installs
from envforge.model.changes import describe_changes
from envforge.model.lock import Lock
from envforge.model.machine import Platform
from envforge.model.prefix import InstallPlan, InstallResult, PrefixState
from envforge.model.results import PlannedInstall


def check_platform(platforms: Sequence[Platform]) -> None:
    """Refuse to create what could not be installed here, before anything is solved.

    Raises:
        InvalidValue: this machine's platform is not among them.
    """
    here = this_platform()
    if here not in platforms:
        raise InvalidValue(
            what="platform",
            value=", ".join(platforms),
            reason=f"is not this machine's, {here}, so it cannot be installed here",
            remedy=f"`envforge lock` writes the lock only; or add `--platform {here}`",
        )


def check(workplace: Workplace, folder: Path, lock: Lock, prefix: Path | None) -> None:
    """See that an install could go through: the place, the archives, the space.

    Raises:
        BrokenPrefix, NotEnoughSpace, Unreachable
    """
    tools = workplace.tools_for(lock.channels)
    installs.check(_request(workplace, folder, lock, prefix), tools)


def check_place(workplace: Workplace, name: str, prefix: Path | None) -> None:
    """Refuse a place that something else takes, before anything is solved.

    Raises:
        BrokenPrefix: a file, a folder that is no environment, or another folder's environment.
    """
    folder = workplace.environments.folder(name)
    place = locating.prefix_of(workplace, folder, prefix)
    read_state(place)
    locating.refuse_frozen(place)
    locating.refuse_of_another(folder, place)


def current_lock(workplace: Workplace, path: Path, *, locked: bool, dry_run: bool = False) -> Lock:
    """The lock to install from; a stale one is made anew, unless that is ruled out.

    Raises:
        StaleLock: it is not current (or not there), and `locked` or `dry_run` forbid to solve.
    """
    lock = folders.read_lock(workplace, path)
    if lock is not None and not (path / ENVIRONMENT_YML).exists():
        return lock  # a lock alone is enough to install from
    folder = folders.read_folder(workplace, path)
    if not folder.stale and lock is not None:
        return lock
    if locked or dry_run:
        raise StaleLock(
            path=str(path / CONDA_LOCK_YML),
            reasons=folder.stale,
            remedy=f"`envforge lock {path.name}`, and commit the result",
        )
    from envforge.forge.solving import (
        locking,  # with the solver's side, which most installs do without
    )

    workplace.reporter.note(f"the lock is not current ({'; '.join(folder.stale)}): locking again")
    return locking.relock(workplace, path).lock


def plan(workplace: Workplace, folder: Path, lock: Lock, prefix: Path | None) -> PlannedInstall:
    """What would be done; nothing is written."""
    request = _request(workplace, folder, lock, prefix)
    prepared = installs.prepare(request, workplace.tools_for(lock.channels))
    return PlannedInstall(
        prefix=request.prefix,
        state=prepared.contents.state,
        plan=prepared.plan,
        forecast=prepared.forecast,
    )


def install(workplace: Workplace, folder: Path, lock: Lock, prefix: Path | None) -> InstallResult:
    """Make the prefix equal to the lock, after saying what changes."""
    request = _request(workplace, folder, lock, prefix)
    locating.refuse_frozen(request.prefix)
    locating.refuse_of_another(folder, request.prefix)

    def say(change: InstallPlan) -> bool:
        workplace.reporter.note(f"`{request.prefix}` differs from its lock; this changes:")
        for line in describe_changes(change):
            workplace.reporter.note(f"  {line}")
        return True

    done = installs.install(request, workplace.tools_for(lock.channels), confirm=say)
    activation.refresh(workplace, folder, request.prefix)
    return done


def install_aside(workplace: Workplace, folder: Path, lock: Lock, prefix: Path) -> InstallResult:
    """The same for a prefix that conda's list of environments does not name; whole at its end."""
    request = replace(_request(workplace, folder, lock, prefix), wait_for_bytecode=True)
    tools = replace(workplace.tools_for(lock.channels), registry=_NoRegistry())
    done = installs.install(request, tools)
    activation.refresh(workplace, folder, prefix)
    return done


class _NoRegistry:
    """`ports.EnvironmentRegistry` that keeps nothing."""

    def add(self, prefix: Path) -> None:
        """See `ports.EnvironmentRegistry.add`."""

    def remove(self, prefix: Path) -> None:
        """See `ports.EnvironmentRegistry.remove`."""


def plan_removal(
    workplace: Workplace, env: str, *, prefix: Path | None, folder: bool
) -> tuple[Path, ...]:
    """The directories that `remove` deletes."""
    path = workplace.environments.locate(env)
    place = locating.prefix_of(workplace, path, prefix)
    locating.refuse_frozen(place)
    locating.refuse_of_another(path, place)
    found = () if read_state(place) is PrefixState.ABSENT else (place,)
    return (*found, path) if folder else found


def remove(workplace: Workplace, env: str, *, prefix: Path | None, folder: bool) -> None:
    """Delete them."""
    path = workplace.environments.locate(env)
    places = plan_removal(workplace, env, prefix=prefix, folder=False)
    for place in places:
        with workplace.reporter.step(f"removing {place}"):
            installs.remove(place, workplace.install_tools)
    if folder:
        workplace.environments.delete(path)


def _request(
    workplace: Workplace, folder: Path, lock: Lock, prefix: Path | None
) -> installs.InstallRequest:
    platform, name = this_platform(), folder.name
    if platform not in lock.platforms:
        raise InvalidValue(
            what="platform",
            value=platform,
            reason=f"is this machine's, and `{name}` is locked for {', '.join(lock.platforms)}",
            remedy=f"add `- {platform}` to `platforms:` in environment.yml",
        )
    return installs.InstallRequest(
        lock=lock,
        environment=str(folder.absolute()),
        platform=platform,
        prefix=locating.prefix_of(workplace, folder, prefix),
        variables=folders.variables_of(lock),
        requested=_requested(workplace, folder),
    )


def _requested(workplace: Workplace, folder: Path) -> tuple[str, ...]:
    """The conda specs of environment.yml, for conda's history; none where there is no file."""
    text = workplace.environments.read(folder, ENVIRONMENT_YML)
    if text is None:
        return ()
    spec = environment_yml.read(text, str(folder / ENVIRONMENT_YML)).spec
    return tuple(conda_spec.format_conda(item) for item in spec.conda())
