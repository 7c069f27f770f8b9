"""Gathers the facts about one place: machine, prefix and probe at the same time.

What is needed to start the interpreter comes first; everything else is imported beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envforge.adapters.activation.activation_scripts import run_environment
from envforge.adapters.prefix import recognise
from envforge.adapters.prefix.python_probe import PythonProbe
from envforge.adapters.prefix.recognise import Found
from envforge.errors import EnvforgeError
from envforge.forge.judging.meanwhile import Meanwhile
from envforge.forge.judging.naming import Looking
from envforge.forge.judging.places import Place
from envforge.forge.workplace import Workplace, this_platform
from envforge.model.finding import Level
from envforge.model.lock import Target
from envforge.model.machine import Machine

if TYPE_CHECKING:
    from envforge.verify.facts import HostFacts, Layer, PrefixFacts, ProbeFacts, ShellFacts, Subject


def subject_of(
    workplace: Workplace, place: Place, looking: Looking, described: Machine | None
) -> Subject:
    """Everything that is to be known of a place.

    The interpreter imports torch in a child, which takes seconds; the machine and the prefix are
    looked at meanwhile, in threads, since the main thread is the one that an interruption reaches
    and that ends the child.

    Args:
        workplace: where we are.
        place: what was named.
        looking: how to look.
        described: a machine to judge for instead of this one.

    Raises:
        FileNotUsable, BrokenPrefix: the prefix cannot be looked at.
        InvalidFile: environment.yml cannot be read.
    """
    is_started = place.installed is not None and looking.level != "static"
    start = _start(workplace, place.installed) if is_started and place.installed else _NOTHING
    host, reading, shell = _surroundings(workplace, place, looking, described)
    level = _level(place, looking, host)
    missing: dict[Layer, str] = {}
    probe = _probe(workplace, start, level, looking, missing)
    subject = _claim(workplace, place, missing, described)
    return replace(
        subject,
        level=level,
        require_gpu=looking.require_gpu,
        prefix=reading.result(),
        host=replace(host.result(), shell=shell.result()),
        probe=probe,
        missing=missing,
    )


def _surroundings(
    workplace: Workplace, place: Place, looking: Looking, described: Machine | None
) -> tuple[Meanwhile[HostFacts], Meanwhile[PrefixFacts | None], Meanwhile[ShellFacts | None]]:
    """Begin to look around, in three threads."""
    # Packages that import their own modules: where one thread imports such a package, and another
    # one of its modules, each waits for the other, and CPython raises `_DeadlockError`.
    import envforge.matrix
    import envforge.verify.facts  # noqa: F401

    def look_at_host() -> HostFacts:
        from envforge.forge.judging import surroundings

        return surroundings.host(workplace, place, looking, described)

    def look_at_prefix() -> PrefixFacts | None:
        from envforge.forge.judging import surroundings

        return surroundings.prefix(workplace, place, looking)

    def look_at_shell() -> ShellFacts | None:
        from envforge.forge.judging import surroundings

        return surroundings.shell(workplace, host, reading, looking)

    host, reading = Meanwhile(look_at_host), Meanwhile(look_at_prefix)
    return host, reading, Meanwhile(look_at_shell)


# --- the claim ------------------------------------------------------------------------------


def _claim(
    workplace: Workplace, place: Place, missing: dict[Layer, str], described: Machine | None
) -> Subject:
    """What the lock and the folder say it is."""
    from envforge.verify.facts import Subject

    platform: str = this_platform()
    lock, folder = place.lock, place.folder
    platforms: tuple[str, ...] = lock.platforms if lock else ()
    if described is not None and place.kind == "lock" and platforms and platform not in platforms:
        platform = platforms[0]
    if place.no_lock is not None:
        missing["lock"] = place.no_lock
    if lock is not None and platform not in platforms:
        missing["lock"] = f"the lock holds nothing for {platform}"
    return Subject(
        name=place.name,
        level="static",
        kind=place.kind,
        platform=platform,
        platforms=platforms,
        folder=folder.name if folder else None,
        place=_place_as_typed(workplace, place),
        declared_name=_declared_name(workplace, place),
        target=_target(place, platform),
        is_claimed=lock is None or lock.target is not None,
        locked=lock.for_platform(platform) if lock and "lock" not in missing else None,
    )


def _target(place: Place, platform: str) -> Target | None:
    """What the lock says it is for, or what its packages amount to where another tool wrote it."""
    if place.lock is None or place.lock.target is not None:
        return place.lock.target if place.lock else None
    from envforge.verify import lock_claim

    return lock_claim.claim_of(place.lock.packages, platform)


def _place_as_typed(workplace: Workplace, place: Place) -> str | None:
    """What commands to copy call the environment: its name where that is enough, else its path."""
    if place.folder is None:
        return None
    usual = workplace.environments.folder(place.folder.name)
    return place.folder.name if usual.absolute() == place.folder else str(place.folder)


def _declared_name(workplace: Workplace, place: Place) -> str | None:
    if place.folder is None:
        return None
    text = workplace.environments.read(place.folder, "environment.yml")
    if text is None:
        return None
    from envforge.formats.conda import environment_yml

    return environment_yml.read(text, str(place.folder / "environment.yml")).spec.name


# --- the interpreter ------------------------------------------------------------------------


def _level(place: Place, looking: Looking, host: Meanwhile[HostFacts]) -> Level:
    """As deep as was said, else as deep as says something here."""
    if looking.level == "live":
        host.result()  # on a GPU in exclusive mode, its contexts and the probe's would collide
    if looking.level is not None:
        return looking.level
    if place.installed is None:
        return "static"
    from envforge.verify.verify import possible_level

    target = _target(place, this_platform())
    is_cpu_build = (
        target.cuda is None if target is not None else recognise.is_cpu_build(place.installed)
    )
    return possible_level(host.result(), is_cpu_build=is_cpu_build)


@dataclass(frozen=True, slots=True)
class _Start:
    """An interpreter that can be started, or why it cannot."""

    interpreter: Path | None
    variables: Mapping[str, str]
    missing: str = ""
    """Why there is none to start; empty: there is one."""
    failure: str = ""
    """Why starting it would say nothing of the environment; empty: it would."""


_NOTHING = _Start(None, {}, missing="nothing that is installed was named")


def _start(workplace: Workplace, found: Found) -> _Start:
    variables = workplace.settings.environment
    if found.interpreter is None:
        return _Start(None, variables, missing=f"there is no interpreter in {found.prefix}")
    if not found.is_conda:
        return _Start(found.interpreter, variables)
    try:
        variables = run_environment(found.prefix, variables, workplace.processes)
    except (EnvforgeError, OSError) as error:  # a package's script, an unreadable file of conda's
        failure = f"the environment cannot be activated: {error}"
        return _Start(found.interpreter, variables, failure=failure)
    return _Start(found.interpreter, variables)


def _probe(
    workplace: Workplace, start: _Start, level: Level, looking: Looking, missing: dict[Layer, str]
) -> ProbeFacts | None:
    if level == "static":
        missing["probe"] = "level static starts no interpreter"
    elif start.interpreter is None:
        missing["probe"] = start.missing
    elif start.failure:
        from envforge.verify.facts import ProbeFacts

        return ProbeFacts(level=level, failure=start.failure)
    else:
        return PythonProbe(workplace.processes).run(
            start.interpreter,
            level=level,
            environment=start.variables,
            timeout=looking.timeout,
            compile_on_cpu=looking.level == "live",  # half a minute: only where it was asked for
        )
    return None
